"""insightface's model packs from local folders, read by insightface's own classes.

Files are checked by hash here, and the classes are handed sessions of ours: the package's own loading downloads packs
without a hash and leaves threads and providers to onnxruntime. All of its packs are for non-commercial research; the
MIT licence covers its code alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.faces.analyzer import Analyzer
from models.faces.arcface import ArcFace
from models.faces.files import (
    GLINTR100,
    SCRFD_10G,
    W600K_R50,
    CheckedFile,
    FacesUnavailable,
    KnownFile,
    read_checked,
)
from models.faces.model_zoo import model_zoo
from models.faces.network import Network
from models.faces.scrfd import Scrfd

RELEASES = "https://github.com/deepinsight/insightface/releases/tag/model-zoo"
MANIFEST = "manifest.json"
Load = Callable[[CheckedFile], Network]


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


def load_pack(pack: Pack, faces_dir: Path, network: Load, first_side: int | None = None) -> Analyzer:
    folder = _folder(faces_dir, (pack.name,), pack.detector_file)
    detector = read_checked(_present(folder / pack.detector_file), pack.detector.sha256)
    recogniser = read_checked(_present(folder / pack.recogniser_file), pack.recogniser.sha256)
    return Analyzer(
        f"insightface:{pack.name}",
        _detector(network, detector, first_side),
        _recogniser(network, recogniser, pack.name),
    )


def load_manifest_pack(folder: Path, network: Load, first_side: int | None = None) -> Analyzer:
    name, detection, recognition = _manifest(folder)
    detector = read_checked(_present(detection.path), detection.sha256)
    recogniser = read_checked(_present(recognition.path), recognition.sha256)
    return Analyzer(
        f"insightface:{name}",
        _detector(network, detector, first_side, **_normalisation(detection)),
        _recogniser(network, recogniser, name, **_normalisation(recognition)),
    )


def _manifest(folder: Path) -> tuple[str, Any, Any]:
    """The pack's name and two of its networks; a raccoon pack also has one for verification.

    insightface's reading: every file is an .onnx file inside the folder, and its hash, if stated, looks like one.
    """
    zoo = model_zoo()
    try:
        pack = zoo.load_model_package(folder)
        return pack.name, pack.task(zoo.DETECTION_TASK), pack.task(zoo.RECOGNITION_TASK)
    except (ValueError, TypeError) as error:
        raise FacesUnavailable(
            f"{folder / MANIFEST} is not a version 2 manifest of an insightface pack: {error}"
        ) from error


def _normalisation(task: Any) -> dict[str, float]:
    """(x - mean) / std on 0..255 values; a graph that normalises by itself gets them as they are."""
    stated = task.metadata["preprocessing"]
    return {"mean": 0.0, "std": 1.0} if stated == model_zoo().EMBEDDED_PREPROCESSING else dict(stated)


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


def _detector(network: Load, checked: CheckedFile, first_side: int | None, **normalisation: float) -> Scrfd:
    detector = _with_outputs(network(checked), checked.path, 9, "a detector with landmarks")
    return Scrfd(detector, first_side=first_side, **normalisation)


def _recogniser(network: Load, checked: CheckedFile, name: str, **normalisation: float) -> ArcFace:
    """Its space is the published recogniser's if the hash is one we know, else it goes by the pack's name."""
    recogniser = _with_outputs(network(checked), checked.path, 1, "a recogniser")
    return ArcFace(recogniser, checked, checked.space or name, **normalisation)


def _with_outputs(network: Network, path: Path, count: int, kind: str) -> Network:
    if len(network.output_names) != count:
        raise FacesUnavailable(f"{path} has {len(network.output_names)} outputs; {kind} has {count}")
    return network
