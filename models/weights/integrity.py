"""A file's bytes are checked before anything reads them: size and sha256 where known, else as locked on first sight."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.weights.errors import AlteredFile, MissingFile
from models.weights.lock import Lock
from models.weights.manifest import WeightFile, folder_of
from models.wire.bundle_info import FileInfo

_BLOCK = 1 << 20


def verify(
    files: Sequence[WeightFile], root: Path, published: Iterable[WeightFile] = (), *, profile: str | None = None
) -> list[FileInfo]:
    """Check every file of a profile. `published` are all that are known, to tell which of them a wrong one is.

    Raises MissingFile or AlteredFile naming the file, what was found, what was expected and what to do.
    """
    checked: dict[str, FileInfo] = {}
    for folder in dict.fromkeys(folder_of(file, root) for file in files):
        with Lock(folder) as lock:
            inside = [file for file in files if folder_of(file, root) == folder]
            checked |= {file.path: verify_one(file, folder, lock, published, profile=profile) for file in inside}
    return [checked[file.path] for file in files]


def verify_one(
    file: WeightFile, root: Path, lock: Lock, published: Iterable[WeightFile] = (), *, profile: str | None = None
) -> FileInfo:
    """Notes the hash in the lock if nobody published one."""
    how = remedy(file, profile)
    path = root / file.path
    if not path.is_file():
        raise MissingFile(f"{path} is missing; {how}")
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        what = "incomplete" if size < file.size else "altered"
        raise AlteredFile(f"{path} has {size} bytes, the manifest says {file.size}: the file is {what}; {how}")
    digest = sha256_of(path)
    expected = file.sha256 or lock.files.get(file.path, digest)
    if digest != expected:
        raise AlteredFile(f"{path} has sha256 {digest}, expected {expected}: {_guess(digest, published)}; {how}")
    if file.sha256 is None:
        lock.files[file.path] = digest
    return FileInfo(
        id=file.path,
        bytes=size,
        sha256=digest,
        licence=file.licence,
        commercial=file.commercial,
        source=file.origin,
        note=file.note,
    )


def remedy(file: WeightFile, profile: str | None = None) -> str:
    """How to get the right file, as the end of a sentence: with the profile that is wanted, if it has the file."""
    if file.remote is None or not file.profiles:
        return f"get it from {file.origin}"
    name = profile if profile in file.profiles else file.profiles[0]
    return f"run `proofsheet fetch {name}` (it comes from {file.origin})"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _guess(digest: str, published: Iterable[WeightFile]) -> str:
    """A file of the wrong version is the commonest mistake after a cut download."""
    other = next((file for file in published if file.sha256 == digest), None)
    return f"these are the bytes of {other.path}" if other else "the file is altered"
