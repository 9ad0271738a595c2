"""The analyzer that needs no download, on scikit-image's astronaut and on pictures without a face."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import face_graphs
import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS

from models.faces.bundled import SPACE, load_bundled
from models.faces.face import FaceAnalyzer, Rgb

EYES = float(np.linalg.norm(LANDMARKS[1] - LANDMARKS[0]))  # pixels between them


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> FaceAnalyzer:
    """Without any network: cascade and mean shape."""
    return load_bundled(tmp_path_factory.mktemp("empty"), device="cpu", threads=1)


@pytest.fixture(scope="module")
def equipped(tmp_path_factory: pytest.TempPathFactory) -> FaceAnalyzer:
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "faces").mkdir()
    (folder / "faces" / "landmarks.onnx").write_bytes(face_graphs.landmarks())
    (folder / "faces" / "recogniser.onnx").write_bytes(face_graphs.recogniser())
    return load_bundled(folder, device="cpu", threads=1)


def turned(picture: Rgb, degrees: float) -> tuple[Rgb, np.ndarray]:
    """The picture turned about the middle of her face, and the matrix [2, 3] that did it."""
    x, y = LANDMARKS.mean(axis=0)
    matrix = cv2.getRotationMatrix2D((float(x), float(y)), degrees, 1.0)
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE).astype(np.uint8), matrix


def error(landmarks: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance in parts of the distance between the eyes."""
    return float(np.linalg.norm(landmarks - expected, axis=1).mean()) / EYES


def test_the_astronaut_s_face_is_found_where_it_is(bare: FaceAnalyzer):
    faces = bare.analyze(skimage.data.astronaut())

    assert len(faces) == 1
    x0, y0, x1, y1 = faces[0].box
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == pytest.approx((224, 118), abs=15)
    assert faces[0].size == pytest.approx(100, rel=0.2)


def test_without_a_landmark_model_the_mean_shape_is_marked_as_such(bare: FaceAnalyzer):
    face = bare.analyze(skimage.data.astronaut())[0]

    assert not face.landmarks_measured
    assert error(face.landmarks, LANDMARKS) < 0.3
    assert face.embedding is None
    assert bare.space is None


def test_with_networks_landmarks_are_measured_and_the_face_is_embedded(equipped: FaceAnalyzer):
    face = equipped.analyze(skimage.data.astronaut())[0]

    assert face.landmarks_measured
    assert error(face.landmarks, LANDMARKS) < 0.3
    assert face.space == equipped.space == SPACE
    assert face.embedding is not None
    assert face.embedding.shape == (512,)


@pytest.mark.parametrize("degrees", [-25, 25])
def test_a_tilted_head_is_found_upright_and_its_landmarks_tilt_with_it(equipped: FaceAnalyzer, degrees: float):
    picture, matrix = turned(skimage.data.astronaut(), degrees)

    face = equipped.analyze(picture)[0]

    expected = LANDMARKS @ matrix[:, :2].T + matrix[:, 2]
    assert error(face.landmarks, expected) < 0.35


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_box_follows_the_picture_s_size(bare: FaceAnalyzer, scale: float):
    picture = cv2.resize(skimage.data.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

    faces = bare.analyze(picture.astype(np.uint8))

    assert faces[0].size == pytest.approx(100 * scale, rel=0.2)


@pytest.mark.parametrize("darkening", [0.12, 0.3, 0.6])
def test_a_dark_face_is_found_so_that_it_can_be_called_dark(bare: FaceAnalyzer, darkening: float):
    faces = bare.analyze((skimage.data.astronaut() * darkening).astype(np.uint8))

    assert len(faces) == 1


def test_two_people_are_two_faces(bare: FaceAnalyzer):
    astronaut = skimage.data.astronaut()

    faces = bare.analyze(np.concatenate([astronaut, astronaut[:, ::-1]], axis=1))

    middles = sorted((face.box[0] + face.box[2]) / 2 for face in faces)
    assert middles == pytest.approx([224, 800], abs=20)


@pytest.mark.parametrize(
    "picture",
    [
        skimage.data.coffee,
        skimage.data.chelsea,
        skimage.data.rocket,
        lambda: np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8),
        lambda: np.full((300, 300, 3), 128, np.uint8),
        lambda: np.zeros((2000, 30, 3), np.uint8),
        lambda: np.zeros((1, 1, 3), np.uint8),
    ],
    ids=["coffee", "cat", "rocket", "noise", "grey", "sliver", "one pixel"],
)
def test_no_face_is_found_where_there_is_none(bare: FaceAnalyzer, picture: Callable[[], Rgb]):
    assert bare.analyze(picture()) == []


def test_pixels_that_may_not_be_written_are_read_all_the_same(equipped: FaceAnalyzer):
    astronaut = skimage.data.astronaut()
    received = np.frombuffer(astronaut.tobytes(), np.uint8).reshape(astronaut.shape)

    assert [face.box for face in equipped.analyze(received)] == [face.box for face in equipped.analyze(astronaut)]


def test_threads_get_the_same_faces_as_one_after_another(bare: FaceAnalyzer):
    astronaut = skimage.data.astronaut()
    pictures = [astronaut[:, shift : shift + 400] for shift in (0, 20, 40, 60)]
    alone = [[face.box for face in bare.analyze(picture)] for picture in pictures]

    with ThreadPoolExecutor(4) as pool:
        together = [[face.box for face in faces] for faces in pool.map(bare.analyze, pictures)]

    assert together == alone


def test_a_folder_with_a_landmark_model_alone_still_finds_faces(tmp_path: Path):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "landmarks.onnx").write_bytes(face_graphs.landmarks())

    face = load_bundled(tmp_path, device="cpu", threads=1).analyze(skimage.data.astronaut())[0]

    assert face.landmarks_measured
    assert face.embedding is None
