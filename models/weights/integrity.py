"""A file's bytes are checked before anything reads them: size and sha256 where known, else as locked on first sight."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from models.weights.errors import AlteredFile, MissingFile
from models.weights.lock import Lock
from models.weights.manifest import WeightFile
from models.wire.bundle_info import FileInfo

_BLOCK = 1 << 20


def verify(files: Iterable[WeightFile], root: Path, published: Iterable[WeightFile] = ()) -> list[FileInfo]:
    """Check every file. `published` are all that are known, to tell which of them a wrong one is.

    Raises MissingFile or AlteredFile naming the file, what was found, what was expected and what to do.
    """
    with Lock(root) as lock:
        return [verify_one(file, root, lock, published) for file in files]


def verify_one(file: WeightFile, root: Path, lock: Lock, published: Iterable[WeightFile] = ()) -> FileInfo:
    """Notes the hash in the lock if nobody published one."""
    path = root / file.path
    if not path.is_file():
        raise MissingFile(f"{path} is missing; {remedy(file)}")
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        what = "incomplete" if size < file.size else "altered"
        raise AlteredFile(f"{path} has {size} bytes, the manifest says {file.size}: the file is {what}; {remedy(file)}")
    digest = sha256_of(path)
    expected = file.sha256 or lock.files.get(file.path, digest)
    if digest != expected:
        raise AlteredFile(
            f"{path} has sha256 {digest}, expected {expected}: {_guess(digest, published)}; {remedy(file)}"
        )
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


def remedy(file: WeightFile) -> str:
    """How to get the right file, as the end of a sentence."""
    if file.remote is None or not file.profiles:
        return f"get it from {file.origin}"
    return f"run `proofsheet fetch {file.profiles[0]}` (it comes from {file.origin})"


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
