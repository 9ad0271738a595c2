"""The manifest: which files make a bundle, where each comes from, what its bytes are and under which terms.

`manifest.toml` is data, not code: an operator can replace it. Paths are relative to the weights folder; files of the
embedded bundle are relative to this package. A file's bytes are checked before anything reads them: size and sha256
where known, else recorded on first use in `manifest.lock` in the weights folder and held to that ever after.
"""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from models.messages import FileInfo
from models.weights.modules import WeightsError

PACKAGE = Path(__file__).resolve().parent
DEFAULT_MANIFEST = PACKAGE / "manifest.toml"
LOCK_NAME = "manifest.lock"
_BLOCK = 1 << 20
T = TypeVar("T")


class WeightFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file. `origin` is where it is published ("repo@revision:path"); sha256 None is locked on first use."""

    path: str
    licence: str
    commercial: Literal["yes", "no", "conditional"]
    origin: str
    size: int | None = None
    sha256: str | None = None
    note: str = ""


class Lora(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A low-rank update fused into the UNet at load."""

    path: str
    scale: float = 1.0


class BundleSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A set of modules to keep warm together. Components are folders in the published diffusers layout."""

    title: str
    unet: str
    vae: str
    text_encoder: str
    text_encoder_2: str
    tokenizer: str
    tokenizer_2: str
    scheduler: str
    photomaker: list[str]  # checkpoint files; the first is the default adapter
    preview_vae: str | None = None
    loras: list[Lora] = []
    embedded: bool = False
    commercial: bool = False  # refuse to start with a file that may not be sold with
    face_space: str | None = None  # the recogniser that PhotoMaker v2 was trained on
    sampler: str = "euler"
    samplers: tuple[str, ...] = ("euler", "ddim")
    steps: int = 4
    max_steps: int = 50
    guidance: float = 1.0
    strength: float = 0.8
    size: tuple[int, int] = (1024, 1024)
    sizes: tuple[tuple[int, int], ...] = ((1024, 1024),)  # (width, height)

    def parts(self) -> list[str]:
        """Every folder or file that this bundle reads."""
        folders = [self.unet, self.vae, self.text_encoder, self.text_encoder_2, self.tokenizer, self.tokenizer_2]
        optional = [self.preview_vae] if self.preview_vae else []
        return [*folders, self.scheduler, *optional, *self.photomaker, *(lora.path for lora in self.loras)]


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`include` names further files of [[files]] entries, relative to the manifest: generated lists live there."""

    bundles: dict[str, BundleSpec]
    files: list[WeightFile] = []
    include: list[str] = []

    def bundle(self, name: str) -> BundleSpec:
        """Raises WeightsError naming the known bundles."""
        if name not in self.bundles:
            raise WeightsError(f"bundle {name!r} is not in the manifest; it has {', '.join(sorted(self.bundles))}")
        return self.bundles[name]

    def files_of(self, bundle: BundleSpec) -> list[WeightFile]:
        """The manifest's entries under the bundle's parts. Raises WeightsError for a part that has none."""
        found: dict[str, WeightFile] = {}
        for part in bundle.parts():
            inside = [f for f in self.files if f.path == part or f.path.startswith(f"{part}/")]
            if not inside:
                raise WeightsError(f"the manifest lists no file under {part!r}, which the bundle needs")
            # A pickle's companion config describes its shapes; it lies beside it.
            beside = [f for f in self.files if f.path == f"{Path(part).parent}/config.json" and part.count("/") > 0]
            found |= {f.path: f for f in [*inside, *(beside if part in bundle.photomaker else [])]}
        return list(found.values())


def read_manifest(path: Path = DEFAULT_MANIFEST) -> Manifest:
    """Raises WeightsError naming the file and the field."""
    manifest = _read_toml(path, Manifest)
    included = [_read_toml(path.parent / name, _FileList) for name in manifest.include]
    return msgspec.structs.replace(manifest, files=[*manifest.files, *(f for part in included for f in part.files)])


class _FileList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: list[WeightFile]


def _read_toml(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), kind)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise WeightsError(f"{path}: {error}") from error


def root_of(bundle: BundleSpec, weights_dir: Path | None) -> Path:
    """The folder that the bundle's paths are relative to."""
    if bundle.embedded:
        return PACKAGE
    if weights_dir is None:
        raise WeightsError("this bundle needs a weights folder: set PROOFSHEET_WEIGHTS_DIR or pass --weights-dir")
    return weights_dir


def missing_files(files: Iterable[WeightFile], root: Path) -> list[WeightFile]:
    return [file for file in files if not (root / file.path).is_file()]


def refuse_noncommercial(name: str, bundle: BundleSpec, files: Iterable[WeightFile], accept: bool) -> None:
    """A commercial bundle holds no file that may not be sold with; any other needs the operator's word."""
    barred = [file for file in files if file.commercial == "no"]
    if barred and (bundle.commercial or not accept):
        file = barred[0]
        way_out = "" if bundle.commercial else " Start with --accept-noncommercial if your use is not commercial."
        raise WeightsError(
            f"bundle {name!r}: {file.path} ({file.licence}) may not be used commercially: {file.note}.{way_out}"
        )


def verify(files: Iterable[WeightFile], root: Path) -> list[FileInfo]:
    """Check every file's size and hash. Raises WeightsError naming the file, what was found and what was expected."""
    lock = HashLock(root)
    verified = [_verify_one(file, root, lock) for file in files]
    lock.save()
    return verified


def _verify_one(file: WeightFile, root: Path, lock: "HashLock") -> FileInfo:
    path = root / file.path
    if not path.is_file():
        raise WeightsError(f"{path} is missing; get it from {file.origin}")
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        raise WeightsError(f"{path} has {size} bytes, the manifest says {file.size}: the file is incomplete or altered")
    digest = sha256_of(path)
    expected = file.sha256 or lock.recall(file.path) or digest
    if digest != expected:
        raise WeightsError(f"{path} has sha256 {digest}, expected {expected}: the file is altered; fetch it again")
    if file.sha256 is None:
        lock.record(file.path, digest)
    return FileInfo(
        id=file.path,
        bytes=size,
        sha256=digest,
        licence=file.licence,
        commercial=file.commercial,
        source=file.origin,
        note=file.note,
    )


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class HashLock:
    """Hashes that nobody published, from the first time a file was seen here (or made here, by conversion)."""

    def __init__(self, root: Path) -> None:
        self._path = root / LOCK_NAME
        self._known: dict[str, str] = json.loads(self._path.read_text()) if self._path.is_file() else {}
        self._changed = False

    def recall(self, name: str) -> str | None:
        return self._known.get(name)

    def record(self, name: str, digest: str) -> None:
        self._changed |= self._known.get(name) != digest
        self._known[name] = digest

    def save(self) -> None:
        """A read-only weights folder keeps no lock; its files can't change either."""
        if self._changed and os.access(self._path.parent, os.W_OK):
            self._path.write_text(json.dumps(self._known, indent=1, sort_keys=True) + "\n")
