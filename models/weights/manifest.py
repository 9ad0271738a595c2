"""The manifest: which files make a bundle, where each is published, what its bytes are and under which terms.

`manifest.toml` is data, not code: an operator can replace it, or write one that says only what is added (`extending`).
A bundle is also the profile that `proofsheet fetch` downloads. Paths are relative to the weights folder; those of the
embedded bundle are relative to this package, and what an operator adds to it lies beside their manifest.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import msgspec

from models.adapters.registry import RegisteredSpec, entries
from models.engine.plan import MAX_STEPS
from models.weights.errors import WeightsError
from models.weights.extending import extended, is_extension
from models.wire.groups import Framing, Guidance, LoraName, LoraScale, SamplerName, SizeText, Steps, Strength, size_text

PACKAGE = Path(__file__).resolve().parent
NO_PROFILES = "leave it out: a file belongs to the bundles whose parts name it"
DEFAULT_MANIFEST = PACKAGE / "manifest.toml"
FACES = "faces"  # the folder of face models below the weights folder
Commercial = Literal["yes", "no", "conditional"]
Format = Literal["safetensors", "pickle", "onnx", "text"]
_FORMATS: dict[str, Format] = {".safetensors": "safetensors", ".onnx": "onnx", ".bin": "pickle", ".pt": "pickle"}
T = TypeVar("T")


class Remote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to download: from a hub repository, or from below a URL. Without a revision: the one found first."""

    source: Literal["hub", "url"]
    repo: str
    path: str
    revision: str | None = None
    size: int | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        if self.source == "url":
            return f"{self.repo}/{self.path}"
        return f"{self.repo}@{self.revision[:12]}:{self.path}" if self.revision else f"{self.repo}:{self.path}"


class WeightFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file; `path` is its id. A sha256 or revision that nobody published is locked on first sight."""

    path: str
    licence: str
    commercial: Commercial
    origin: str  # where it is published, for people
    size: int | None = None
    about_bytes: int | None = None  # as rounded by its publisher, where the size itself is not on record
    sha256: str | None = None
    note: str = ""
    profiles: tuple[str, ...] = ()  # once read, the bundles that have it
    remote: Remote | None = None  # where `fetch` gets it; of the archive, if it comes in one
    member: str | None = None  # its name in that archive
    beside: str | None = None  # once read, the folder of the operator's manifest that lists it

    @property
    def format(self) -> Format:
        return _FORMATS.get(PurePosixPath(self.path).suffix, "text")


class RepositoryFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a repository. `store_as` is its name here if not the publisher's."""

    path: str
    size: int | None = None
    about_bytes: int | None = None
    sha256: str | None = None
    store_as: str | None = None


class Archive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A zip file that holds a repository's files."""

    path: str
    size: int | None = None
    sha256: str | None = None


class Repository(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files of one publisher under one licence. `repo` is "owner/name" on the hub, or the URL that paths follow."""

    source: Literal["hub", "url"]
    repo: str
    licence: str
    commercial: Commercial
    note: str = ""
    revision: str | None = None
    folder: str | None = None  # below the weights folder; the repository's name unless given
    archive: Archive | None = None
    files: tuple[RepositoryFile, ...]

    def weight_files(self) -> Iterator[WeightFile]:
        folder = self.folder or self.repo.rpartition("/")[2]
        for entry in self.files:
            remote = self._remote(self.archive or entry)
            yield WeightFile(
                path=f"{folder}/{entry.store_as or entry.path}",
                licence=self.licence,
                commercial=self.commercial,
                origin=f"{remote}, in it {entry.path}" if self.archive else str(remote),
                size=entry.size,
                about_bytes=entry.about_bytes,
                sha256=entry.sha256,
                note=self.note,
                remote=remote,
                member=entry.path if self.archive else None,
            )

    def _remote(self, one: RepositoryFile | Archive) -> Remote:
        return Remote(
            source=self.source,
            repo=self.repo,
            path=one.path,
            revision=self.revision,
            size=one.size,
            sha256=one.sha256,
        )


class Lora(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A low-rank update fused into the UNet at load."""

    path: str
    scale: float = 1.0


class StyleLora(Lora, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A LoRA that a request may ask for by name, at `scale` unless it names another."""

    name: str


class FinalSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the bundle makes a final of a preview: the last `refining` of `steps` steps are made again, on its picture.

    A UNet that knows larger sizes refines at the final's ("before": the preview is enlarged before); one that knows a
    single size refines at that, and the finished picture is enlarged.
    """

    sizes: tuple[tuple[int, int], ...]  # (width, height), each of the shape of a preview's size
    steps: int
    refining: int
    enlarge: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        if not 1 <= self.refining <= self.steps <= MAX_STEPS:
            raise ValueError(f"refining {self.refining} of {self.steps} steps: 1 to all of at most {MAX_STEPS} can be")


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
    adapters: list[RegisteredSpec]  # the first is the default
    preview_vae: str | None = None
    loras: list[Lora] = []
    style_loras: list[StyleLora] = []
    embedded: bool = False
    face_analyzers: tuple[str, ...] = ("bundled",)  # unless the operator chooses; an adapter takes the first that fits
    faces: list[str] = []  # their files
    sampler: str = "euler"
    samplers: tuple[str, ...] = ("euler", "ddim")
    steps: int = 4
    max_steps: int = 50
    guidance: float = 1.0
    strength: float = 0.8
    framing: Framing = "front"  # of adapters that take a pose, unless an order says
    size: tuple[int, int] = (1024, 1024)
    sizes: tuple[tuple[int, int], ...] = ((1024, 1024),)  # (width, height)
    final: FinalSpec | None = None

    def __post_init__(self) -> None:
        names = [adapter.name for adapter in self.adapters]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"a bundle needs adapters, and each once; this one has {', '.join(names) or 'none'}")
        for width, height in self.final.sizes if self.final else ():
            if not any(width * h == height * w and width > w for w, h in self.sizes):
                raise ValueError(f"the final size {width}x{height} is no enlargement of any of the bundle's sizes")

    def wrong_defaults(self) -> Iterator[str]:
        """A sentence about each default that no caller could ask for: a proof repeats them as if its caller had."""
        said: list[tuple[str, Any, Any]] = [
            ("steps", Steps, self.steps),
            ("guidance", Guidance, self.guidance),
            ("strength", Strength, self.strength),
            *(("a size", SizeText, size_text(size)) for size in self.sizes),
            *(("a sampler", SamplerName, name) for name in self.samplers),
            *(("a style LoRA's name", LoraName, lora.name) for lora in self.style_loras),
            *((f"the scale of the style LoRA {lora.name!r}", LoraScale, lora.scale) for lora in self.style_loras),
        ]
        for what, bounds, value in said:
            try:
                msgspec.convert(value, bounds)
            except msgspec.ValidationError:
                [meta] = bounds.__metadata__
                pattern = f" ({meta.pattern})" if meta.pattern else ""
                yield f"{what} is {value!r}, and must be {meta.description}{pattern}"
        if self.steps > self.max_steps:
            yield f"steps is {self.steps}, over its own max_steps of {self.max_steps}"
        if self.size not in self.sizes:
            yield f"size is {size_text(self.size)}, which is none of its sizes"
        if self.sampler not in self.samplers:
            yield f"sampler is {self.sampler!r}, which is none of its samplers"

    def parts(self, *, faces: bool = True) -> list[str]:
        """Every folder or file that this bundle reads."""
        folders = [self.unet, self.vae, self.text_encoder, self.text_encoder_2, self.tokenizer, self.tokenizer_2]
        optional = [self.preview_vae] if self.preview_vae else []
        adapters = [part for adapter in self.adapters for part in adapter.parts]
        loras = [lora.path for lora in (*self.loras, *self.style_loras)]
        return [*folders, self.scheduler, *optional, *adapters, *loras, *(self.faces if faces else [])]

    @property
    def companions(self) -> set[str]:
        """Files that are read where the manifest lists them."""
        return {path for adapter in self.adapters for path in adapter.companions}


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`include` names further files of [[files]] entries, relative to the manifest: generated lists live there."""

    bundles: dict[str, BundleSpec]
    repositories: list[Repository] = []
    files: list[WeightFile] = []  # once read, those of `repositories` too
    include: list[str] = []

    def bundle(self, name: str) -> BundleSpec:
        """Raises WeightsError naming the known bundles."""
        if name not in self.bundles:
            raise WeightsError(f"bundle {name!r} is not in the manifest; it has {', '.join(sorted(self.bundles))}")
        return self.bundles[name]

    @property
    def fetchable(self) -> dict[str, str]:
        """By adapter: the first bundle that has it and that `fetch` brings."""
        brought = [(name, bundle) for name, bundle in self.bundles.items() if not bundle.embedded]
        return {adapter.name: name for name, bundle in reversed(brought) for adapter in bundle.adapters}

    def files_of(self, bundle: BundleSpec, *, faces: bool = True) -> list[WeightFile]:
        """The manifest's entries under the bundle's parts. Raises WeightsError for a part that has none."""
        found: dict[str, WeightFile] = {}
        for part in bundle.parts(faces=faces):
            inside = [f for f in self.files if f.path == part or f.path.startswith(f"{part}/")]
            if not inside:
                raise WeightsError(f"the manifest lists no file under {part!r}, which the bundle needs")
            found |= {f.path: f for f in inside}
        found |= {f.path: f for f in self.files if f.path in bundle.companions}
        return list(found.values())

    def profile(self, name: str) -> list[WeightFile]:
        """What `fetch` gets: all that the bundle of that name reads."""
        return self.files_of(self.bundle(name))

    def with_profiles(self) -> "Manifest":
        """Each file names the bundles that read it. Raises WeightsError for a part of one that has no files."""
        profiles: dict[str, tuple[str, ...]] = {}
        for name, bundle in self.bundles.items():
            profiles |= {file.path: (*profiles.get(file.path, ()), name) for file in self.files_of(bundle)}
        files = [msgspec.structs.replace(file, profiles=profiles.get(file.path, ())) for file in self.files]
        return msgspec.structs.replace(self, files=files)


def read_manifest(path: Path = DEFAULT_MANIFEST) -> Manifest:
    """Raises WeightsError naming the file and the field."""
    table = _read_toml(path)
    table = extended(path, table, _read_toml(DEFAULT_MANIFEST) if is_extension(path, table) else {})
    _refuse_missing_adapters(path, table.get("bundles"))
    manifest = _convert(path, table, Manifest)
    lists = [_included(path.parent, name) for name in manifest.include]
    included = [_convert(name, _read_toml(name), _FileList) for name in lists]
    published = [file for repository in manifest.repositories for file in repository.weight_files()]
    files = [*_placed(path, manifest.files), *(f for part in included for f in part.files), *published]
    _refuse_wrong_defaults(path, manifest.bundles)
    _refuse_strange_paths(path, files)
    _refuse_stated_profiles(path, files)
    return msgspec.structs.replace(manifest, files=files).with_profiles()


def _included(folder: Path, name: str) -> Path:
    """Beside the manifest, or else ours: a copy of our manifest names lists that stayed here."""
    return PACKAGE / name if not (folder / name).is_file() and (PACKAGE / name).is_file() else folder / name


def _placed(path: Path, files: Iterable[WeightFile]) -> list[WeightFile]:
    """Files that an operator's manifest lists may lie beside it."""
    folder = path.resolve().parent
    return [file if folder == PACKAGE else msgspec.structs.replace(file, beside=str(folder)) for file in files]


class _FileList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: list[WeightFile]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise WeightsError(f"{path}: {error}") from error


def _convert(path: Path, table: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise WeightsError(f"{path}: {error}{_hint(str(error))}") from error


def _hint(problem: str) -> str:
    """How it is written now, for what was written otherwise."""
    if ".adapters[" in problem:
        return f"; an adapter is one of {entries()}"
    if "`profiles`" in problem:
        return f"; {NO_PROFILES}"
    return ""


def _refuse_missing_adapters(path: Path, bundles: Any) -> None:
    """With the way to write them, for a manifest from before there was a list: its bundles have keys for each kind."""
    for name, bundle in bundles.items() if isinstance(bundles, dict) else ():
        if isinstance(bundle, dict) and "adapters" not in bundle:
            unknown = ", ".join(key for key in bundle if key not in BundleSpec.__struct_fields__)
            raise WeightsError(
                f"{path}: bundle {name!r} lists no adapters{f' (unknown here: {unknown})' if unknown else ''}: write "
                f"adapters = [...], the default first, each as one of {entries()}"
            )


def _refuse_wrong_defaults(manifest: Path, bundles: Mapping[str, BundleSpec]) -> None:
    for name, bundle in bundles.items():
        if wrong := "; ".join(bundle.wrong_defaults()):
            raise WeightsError(f"{manifest}: bundle {name!r}: {wrong}")


def _refuse_stated_profiles(manifest: Path, files: Iterable[WeightFile]) -> None:
    """They would be overwritten without a word."""
    for file in files:
        if file.profiles:
            raise WeightsError(f"{manifest}: {file.path!r} states `profiles`; {NO_PROFILES}")


def _refuse_strange_paths(manifest: Path, files: Iterable[WeightFile]) -> None:
    """Files are written and read below the weights folder only, and each once."""
    seen: set[str] = set()
    for file in files:
        if not is_inside(file.path) or file.path in seen:
            why = "is listed twice" if file.path in seen else "leads out of the weights folder"
            raise WeightsError(f"{manifest}: {file.path!r} {why}")
        seen.add(file.path)


def is_inside(path: str) -> bool:
    """Whether a relative path stays below the folder that it is taken from, on any system."""
    pure = PurePosixPath(path)
    return bool(pure.parts) and not pure.is_absolute() and ".." not in pure.parts and not set(path) & {"\\", ":", "\0"}


def root_of(bundle: BundleSpec, weights_dir: Path | None) -> Path:
    """The folder that the bundle's paths are relative to."""
    if bundle.embedded:
        return PACKAGE
    if weights_dir is None:
        raise WeightsError("this bundle needs a weights folder: set PROOFSHEET_WEIGHTS_DIR or pass --weights-dir")
    return weights_dir


def faces_folder(faces_dir: str | Path | None, weights_dir: Path | None) -> Path | None:
    """Where the face analyzer's files are: the operator's folder, or where `fetch` puts them."""
    if faces_dir is not None:
        return Path(faces_dir)
    return weights_dir / FACES if weights_dir is not None else None


def folder_of(file: WeightFile, root: Path) -> Path:
    """What the file's path is relative to: `root`, but for what an operator adds to the embedded bundle."""
    is_added = root == PACKAGE and file.beside is not None and not (root / file.path).is_file()
    return Path(file.beside) if is_added and file.beside else root


def missing_files(files: Iterable[WeightFile], root: Path) -> list[WeightFile]:
    return [file for file in files if not (folder_of(file, root) / file.path).is_file()]


def refuse_noncommercial(name: str, files: Iterable[WeightFile], *, accept: bool) -> list[WeightFile]:
    """The non-commercial files that the operator accepted. Raises WeightsError for one that they did not."""
    barred = [file for file in files if file.commercial == "no"]
    if barred and not accept:
        file, *others = barred
        more = f" (and {len(others)} more)" if others else ""
        raise WeightsError(
            f"bundle {name!r}: {file.path}{more} may not be used commercially "
            f"(licence {file.licence}): {file.note}. "
            "Start with --accept-noncommercial if your use is not commercial, or choose another bundle."
        )
    return barred
