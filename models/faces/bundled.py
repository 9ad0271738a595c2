"""The analyzer that needs no download: the cascade, and finder, landmark network and recogniser of the small bundle."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from models.faces.analyzer import Analyzer
from models.faces.cascade import FaceCascade
from models.faces.detection import Detection
from models.faces.face import Face, Rgb
from models.faces.finder import CONFIRM_SCORE, FaceFinder
from models.faces.landmarks import LandmarkModel, mean_landmarks
from models.faces.network import Network
from models.faces.overlap import shares
from models.faces.recogniser import Recogniser
from models.faces.small_faces import SmallFaceSearch, square

SPACE = "proofsheet-tiny"
SAME_FACE = 0.5  # intersection over union; a box on a part of the face has up to 0.47 with the face
SCORE = 0.5  # the cascade says yes or no; it has no confidence to report


class BundledDetector:
    """Thread-safe: keeps nothing between calls. Without a landmark model, landmarks are the mean shape and marked.

    Of drawn selfies the cascade finds 19 in 20 with light skin and 2 in 20 with the darkest, and one box in eight lies
    on a mouth or an eye; the finder finds all. On photographs the finder is often unsure, and the cascade's box better.
    """

    sides = ()

    def __init__(self, cascade: FaceCascade, finder: FaceFinder | None, landmarks: LandmarkModel | None) -> None:
        self._cascade = cascade
        self._finder = finder
        self._landmarks = landmarks

    def detect(self, picture: Rgb) -> list[Face]:
        return faces_of(picture, self._detections(picture), self._landmarks)

    def _detections(self, picture: Rgb) -> list[Detection]:
        """The cascade's faces that the finder does not contradict, then those that the finder alone sees."""
        seen = self._cascade.find(picture)
        sure = self._finder.find(picture) if self._finder else []
        if not seen or not sure:
            return seen or sure
        overlap = shares(*(np.array([_box(detection) for detection in found]) for found in (seen, sure)))
        same = overlap > SAME_FACE
        contradicted = ((overlap > 0) & ~same).any(axis=1)
        return [seen[n] for n in np.flatnonzero(~contradicted)] + [sure[n] for n in np.flatnonzero(~same.any(axis=0))]


class SureBundledDetector:
    """Those faces of a BundledDetector that the finder, shown each alone, knows as upright ones; the scores are its.

    What lies on its side or head it is hardly ever sure of, so the best score among several looks tells the right one.
    Thread-safe.
    """

    sides = ()

    def __init__(self, detector: BundledDetector, finder: FaceFinder) -> None:
        self._detector = detector
        self._finder = finder

    def detect(self, picture: Rgb) -> list[Face]:
        faces = [replace(face, score=self._finder.score(picture, face)) for face in self._detector.detect(picture)]
        return [face for face in faces if face.score > CONFIRM_SCORE]

    def is_sure(self, picture: Rgb, face: Face) -> bool:
        return self._finder.score(picture, face) > CONFIRM_SCORE


class SmallFaceDetector:
    """Faces that take less than an eighth of the picture's side, at some ten times the cost. Thread-safe."""

    sides = ()

    def __init__(self, search: SmallFaceSearch, landmarks: LandmarkModel | None) -> None:
        self._search = search
        self._landmarks = landmarks

    def detect(self, picture: Rgb) -> list[Face]:
        return faces_of(picture, self._search.find(picture), self._landmarks)


def faces_of(picture: Rgb, detections: list[Detection], landmarks: LandmarkModel | None) -> list[Face]:
    if landmarks:
        return [Face(_box(seen), landmarks.landmarks(picture, seen), SCORE) for seen in detections]
    return [Face(_box(seen), mean_landmarks(seen), SCORE, landmarks_measured=False) for seen in detections]


def load_bundled(bundled_dir: Path, *, device: str, threads: int) -> Analyzer:
    """Files of this package, so not hash-checked here; one that is absent takes its ability with it, no more."""
    cascade, network = FaceCascade(), partial(_network, bundled_dir / "faces", device, threads)
    finder = FaceFinder(graph) if (graph := network("finder.onnx")) else None
    landmarks = LandmarkModel(graph) if (graph := network("landmarks.onnx")) else None
    recogniser = Recogniser(graph, SPACE, smooth=True) if (graph := network("recogniser.onnx")) else None
    detector = BundledDetector(cascade, finder, landmarks)
    return Analyzer(
        "bundled",
        detector,
        recogniser,
        again=SureBundledDetector(detector, finder) if finder else None,
        small=SmallFaceDetector(SmallFaceSearch(cascade, finder), landmarks) if finder else None,
    )


def _network(folder: Path, device: str, threads: int, name: str) -> Network | None:
    path = folder / name
    if not path.is_file():
        return None
    return Network(path.read_bytes(), device=device, threads=threads, name=str(path))


def _box(detection: Detection) -> tuple[float, float, float, float]:
    """The detection's square in the picture, set upright around the same centre."""
    x, y, side = square(detection)
    half = side / 2
    return (x - half, y - half, x + half, y + half)
