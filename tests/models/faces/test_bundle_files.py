"""The networks of the embedded bundle on a real photo, through the analyzer that uses them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS

import models
from models.faces import FaceAnalyzer, Rgb, load_analyzer

TINY = Path(models.__file__).parent / "weights" / "tiny"
EYES = float(np.linalg.norm(LANDMARKS[1] - LANDMARKS[0]))  # pixels between them


def needs(file: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not (TINY / "faces" / file).is_file(), reason=f"the bundle has no faces/{file}")


@pytest.fixture(scope="module")
def analyzer() -> FaceAnalyzer:
    return load_analyzer("bundled", bundled_dir=TINY, faces_dir=None, device="cpu", threads=1)


def embedding(analyzer: FaceAnalyzer, picture: Rgb) -> np.ndarray:
    """[512], of length one."""
    found = analyzer.analyze(picture)[0].embedding
    assert found is not None
    return found / np.linalg.norm(found)


@needs("landmarks.onnx")
def test_landmarks_lie_on_the_astronaut_s_eyes_nose_and_mouth(analyzer: FaceAnalyzer):
    face = analyzer.analyze(skimage.data.astronaut())[0]

    distances = np.linalg.norm(face.landmarks - LANDMARKS, axis=1) / EYES
    assert face.landmarks_measured
    assert distances.max() < 0.25  # parts of the distance between the eyes; 0.03 to 0.13 when this was written


@needs("recogniser.onnx")
def test_another_crop_of_the_same_photo_is_closer_than_any_other_face(analyzer: FaceAnalyzer):
    astronaut = skimage.data.astronaut()
    dimmed = np.clip(astronaut[20:460, 40:] * 0.8, 0, 255).astype(np.uint8)
    closer = cv2.resize(dimmed, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    other_photos = (np.clip(skimage.data.lfw_subset()[:100:10], 0, 1) * 255).astype(np.uint8)  # [10, 25, 25], grey
    strangers = [face for photo in other_photos if (face := _found(analyzer, photo)) is not None]

    same = embedding(analyzer, astronaut) @ embedding(analyzer, closer)

    assert len(strangers) >= 3
    assert same > max(embedding(analyzer, astronaut) @ stranger for stranger in strangers)


def _found(analyzer: FaceAnalyzer, grey: np.ndarray) -> np.ndarray | None:
    """A face that fills a small grey photo, set into a larger one so that the cascade sees all of it."""
    large = cv2.resize(grey, (200, 200), interpolation=cv2.INTER_CUBIC)
    framed = cv2.copyMakeBorder(large, 60, 60, 60, 60, cv2.BORDER_REPLICATE)
    picture = cv2.cvtColor(framed, cv2.COLOR_GRAY2RGB).astype(np.uint8)
    return embedding(analyzer, picture) if analyzer.analyze(picture) else None
