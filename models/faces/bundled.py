"""The analyzer that needs no download: the cascade, and finder, landmark network and recogniser of the small bundle."""

from pathlib import Path

import cv2
import numpy as np

from models.faces.align import moved
from models.faces.analyzer import Analyzer
from models.faces.cascade import FaceCascade
from models.faces.detection import Detection
from models.faces.face import Face, Rgb
from models.faces.finder import FaceFinder
from models.faces.landmarks import LandmarkModel, mean_landmarks
from models.faces.network import Network
from models.faces.overlap import shares
from models.faces.recogniser import Recogniser

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
        return [self._face(picture, detection) for detection in self._detections(picture)]

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

    def _face(self, picture: Rgb, detection: Detection) -> Face:
        if self._landmarks:
            return Face(_box(detection), self._landmarks.landmarks(picture, detection), SCORE)
        return Face(_box(detection), mean_landmarks(detection), SCORE, landmarks_measured=False)


def load_bundled(bundled_dir: Path, *, device: str, threads: int) -> Analyzer:
    """Files of this package, so not hash-checked here; one that is absent takes its ability with it, no more."""
    finder = _network(bundled_dir / "faces" / "finder.onnx", device, threads)
    landmarks = _network(bundled_dir / "faces" / "landmarks.onnx", device, threads)
    recogniser = _network(bundled_dir / "faces" / "recogniser.onnx", device, threads)
    return Analyzer(
        "bundled",
        BundledDetector(
            FaceCascade(),
            FaceFinder(finder) if finder else None,
            LandmarkModel(landmarks) if landmarks else None,
        ),
        Recogniser(recogniser, SPACE, smooth=True) if recogniser else None,
    )


def _network(path: Path, device: str, threads: int) -> Network | None:
    if not path.is_file():
        return None
    return Network(path.read_bytes(), device=device, threads=threads, name=str(path))


def _box(detection: Detection) -> tuple[float, float, float, float]:
    """The detection's square in the picture, set upright around the same centre."""
    x, y = moved(np.array([detection.x, detection.y]), cv2.invertAffineTransform(detection.upright)).tolist()
    half = detection.side / detection.scale / 2
    return (x - half, y - half, x + half, y + half)
