"""insightface's model packs from local folders, without the insightface package.

The package downloads packs without a hash, brings a desktop application, and keeps the detector's size between
calls. All of its packs are for non-commercial research; the MIT licence covers its code alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from models.faces.analyzer import Analyzer
from models.faces.files import (
    GLINTR100,
    SCRFD_10G,
    W600K_R50,
    CheckedFile,
    FacesUnavailable,
    KnownFile,
    read_checked,
)
from models.faces.network import Network
from models.faces.recogniser import Recogniser
from models.faces.scrfd import Scrfd

RELEASES = "https://github.com/deepinsight/insightface/releases/tag/model-zoo"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack whose files are known by name and hash; its recogniser normalises by 127.5 and 127.5."""

    name: str
    detector_file: str
    detector: KnownFile
    recogniser_file: str
    recogniser: KnownFile


ANTELOPEV2 = Pack("antelopev2", "scrfd_10g_bnkps.onnx", SCRFD_10G, "glintr100.onnx", GLINTR100)
BUFFALO_L = Pack("buffalo_l", "det_10g.onnx", SCRFD_10G, "w600k_r50.onnx", W600K_R50)
PACKS = (ANTELOPEV2, BUFFALO_L)
RACCOONS = ("raccoon_l", "raccoon_s", "raccoon")  # looked for in this order if plain "raccoon" is asked for


class Normalisation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """(x - mean) / std on 0..255 values."""

    mean: float
    std: float


EMBEDDED = Normalisation(0.0, 1.0)  # the graph normalises by itself


class Task(msgspec.Struct, frozen=True):
    """One network of a pack with a manifest: its file, its hash if stated, how its input is normalised."""

    file: str
    sha256: str | None = None
    preprocessing: Normalisation | Literal["embedded"] | None = None


class Tasks(msgspec.Struct, frozen=True):
    """Those that are used here; a raccoon pack also has a verification network."""

    detection: Task
    recognition: Task


class Manifest(msgspec.Struct, frozen=True):
    """insightface's package manifest, version 2: the packs raccoon_s and raccoon_l come with one."""

    manifest_version: Literal[2]
    model_id: str
    tasks: Tasks


def load_insightface(
    pack: str, faces_dir: Path, *, device: str, threads: int, first_side: int | None = None
) -> Analyzer:
    """`pack` is antelopev2, buffalo_l or raccoon (raccoon_l, raccoon_s)."""

    def network(checked: CheckedFile) -> Network:
        return Network(checked.data, device=device, threads=threads, name=str(checked.path))

    known = next((known for known in PACKS if known.name == pack), None)
    if known:
        return load_pack(known, faces_dir, network, first_side)
    names = RACCOONS if pack == "raccoon" else (pack,)
    return load_manifest_pack(_folder(faces_dir, names, MANIFEST), network, first_side)


def load_pack(
    pack: Pack, faces_dir: Path, network: Callable[[CheckedFile], Network], first_side: int | None = None
) -> Analyzer:
    folder = _folder(faces_dir, (pack.name,), pack.detector_file)
    detector = read_checked(_present(folder / pack.detector_file), pack.detector.sha256)
    recogniser = read_checked(_present(folder / pack.recogniser_file), pack.recogniser.sha256)
    return Analyzer(
        f"insightface:{pack.name}",
        Scrfd(_with_landmarks(network(detector), detector.path), first_side=first_side),
        Recogniser(network(recogniser), pack.recogniser.space or pack.name),
    )


def load_manifest_pack(
    folder: Path, network: Callable[[CheckedFile], Network], first_side: int | None = None
) -> Analyzer:
    """The space is the published recogniser's if the hash is one we know, else the pack's own."""
    manifest = _manifest(folder / MANIFEST)
    detection, recognition = manifest.tasks.detection, manifest.tasks.recognition
    detector = read_checked(_inside(folder, detection.file), detection.sha256)
    recogniser = read_checked(_inside(folder, recognition.file), recognition.sha256)
    detector_input = _normalisation(detection, Normalisation(127.5, 128.0))
    recogniser_input = _normalisation(recognition, Normalisation(127.5, 127.5))
    return Analyzer(
        f"insightface:{manifest.model_id}",
        Scrfd(
            _with_landmarks(network(detector), detector.path),
            mean=detector_input.mean,
            std=detector_input.std,
            first_side=first_side,
        ),
        Recogniser(
            network(recogniser),
            recogniser.space or manifest.model_id,
            mean=recogniser_input.mean,
            std=recogniser_input.std,
        ),
    )


def _manifest(path: Path) -> Manifest:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise FacesUnavailable(f"{path} is not a version 2 manifest of an insightface pack: {error}") from error


def _normalisation(task: Task, default: Normalisation) -> Normalisation:
    if task.preprocessing == "embedded":
        return EMBEDDED
    return task.preprocessing or default


def _folder(faces_dir: Path, names: tuple[str, ...], file: str) -> Path:
    """The pack's folder: below `faces_dir`, nested once more (antelopev2.zip does that), or in insightface's root."""
    candidates = [
        folder for name in names for folder in (faces_dir / name, faces_dir / name / name, faces_dir / "models" / name)
    ]
    found = next((folder for folder in candidates if (folder / file).is_file()), None)
    if found is None:
        raise FacesUnavailable(
            f"{candidates[0] / file} is missing. Download {names[0]}.zip from {RELEASES} and unpack it so that its "
            f"files lie in {candidates[0]}. Its terms: non-commercial research only."
        )
    return found


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FacesUnavailable(f"{path} is missing; the rest of its pack is there. Unpack the whole pack: {RELEASES}")
    return path


def _inside(folder: Path, file: str) -> Path:
    """A manifest names files of its own folder only."""
    relative = PurePosixPath(file)
    if relative.is_absolute() or ".." in relative.parts or "\\" in file or relative.suffix != ".onnx":
        raise FacesUnavailable(f"{folder / MANIFEST} names {file!r}, which is not an .onnx file of its folder")
    return _present(folder / relative)


def _with_landmarks(network: Network, path: Path) -> Network:
    if len(network.output_names) != 9:
        raise FacesUnavailable(f"{path} has {len(network.output_names)} outputs; a detector with landmarks has 9")
    return network
