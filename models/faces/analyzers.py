"""Which face analyzers there are, under which licences, and loading one by its name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.faces.bundled import load_bundled
from models.faces.face import FaceAnalyzer
from models.faces.files import FacesUnavailable
from models.faces.insightface import PACKS, RACCOONS, load_insightface
from models.faces.yunet import load_yunet


@dataclass(frozen=True, slots=True)
class AnalyzerLicence:
    """What an analyzer's weights may be used for."""

    licence: str
    commercial: Literal["yes", "no"]


NAMES = ("bundled", "yunet", *(f"insightface:{pack}" for pack in (*(pack.name for pack in PACKS), *RACCOONS)))


def licence_of(name: str) -> AnalyzerLicence:
    if name == "bundled":
        return AnalyzerLicence("Apache-2.0; the cascade BSD-3-Clause", "yes")
    if name == "yunet":
        return AnalyzerLicence("MIT; AuraFace Apache-2.0", "yes")
    return AnalyzerLicence("InsightFace: non-commercial research only", "no")


def load_analyzer(
    name: str,
    *,
    bundled_dir: Path,
    faces_dir: Path | None,
    device: str,
    threads: int,
    first_side: int | None = None,
) -> FaceAnalyzer:
    """`device` is "cpu" or "cuda", "cuda:1", ...; CUDA falls back to the CPU if onnxruntime was built without it.
    `first_side` is where a detector that reads pictures of any size looks first; the bundled one reads one size.

    Raises FacesUnavailable for an unknown name, a missing file or a file that is not the published one.
    """
    if name not in NAMES:
        raise FacesUnavailable(f"there is no face analyzer {name!r}; there are {', '.join(NAMES)}")
    if name == "bundled":
        return load_bundled(bundled_dir, device=device, threads=threads)
    if faces_dir is None:
        raise FacesUnavailable(f"the face analyzer {name!r} needs a folder with its ONNX files; none is configured")
    if name == "yunet":
        return load_yunet(faces_dir, device=device, threads=threads, first_side=first_side)
    return load_insightface(name.partition(":")[2], faces_dir, device=device, threads=threads, first_side=first_side)
