"""YuNet's decoding against OpenCV's own FaceDetectorYN, on a seeded graph of the same outputs."""

from pathlib import Path

import cv2
import face_graphs
import numpy as np
import pytest
import skimage.data

from models.faces.canvas import fitted
from models.faces.files import FacesUnavailable
from models.faces.network import Network, planes
from models.faces.yunet import MIN_SCORE, YuNet, decoded, load_yunet


def opencvs_faces(path: Path, picture: np.ndarray) -> np.ndarray:
    """[N, 15]: every box over the score, none suppressed; sorted by score, falling."""
    height, width = picture.shape[:2]
    detector = cv2.FaceDetectorYN.create(str(path), "", (width, height), MIN_SCORE, 1.0, 5000)
    return detector.detect(np.ascontiguousarray(picture[..., ::-1]))[1]


def test_boxes_and_landmarks_equal_opencvs(tmp_path: Path):
    path = tmp_path / "face_detection_yunet.onnx"
    path.write_bytes(face_graphs.yunet())
    picture = skimage.data.astronaut()[:384]
    expected = opencvs_faces(path, picture)
    outputs = Network(path.read_bytes(), device="cpu", threads=1)(
        planes(np.ascontiguousarray(picture[..., ::-1]), 0.0, 1.0)[None]
    )

    boxes, landmarks, scores = decoded(outputs, 512, 384)

    order = np.argsort(-scores, kind="stable")
    assert len(scores) == len(expected) > 50
    assert scores[order] == pytest.approx(expected[:, 14], abs=1e-4)
    assert boxes[order, :2] == pytest.approx(expected[:, :2], abs=0.05)
    assert (boxes[:, 2:] - boxes[:, :2])[order] == pytest.approx(expected[:, 2:4], rel=1e-3, abs=0.05)
    assert landmarks[order].reshape(-1, 10) == pytest.approx(expected[:, 4:14], abs=0.05)


def test_suppressed_faces_keep_the_picture_s_coordinates_at_any_size():
    detector = YuNet(Network(face_graphs.yunet(side=320), device="cpu", threads=1))
    picture = skimage.data.astronaut()[:320, :320]

    small = detector.detect(picture)
    large = detector.detect(picture.repeat(2, axis=0).repeat(2, axis=1))

    assert len(small) == len(large) > 5
    assert np.array([face.box for face in large]) == pytest.approx(2 * np.array([face.box for face in small]), abs=2.0)


def test_landmarks_come_image_left_eye_first():
    cells = [(64 // stride) ** 2 for stride in (8, 16, 32)]
    outputs = [np.zeros((1, count, width), np.float32) for width in (1, 1, 4, 10) for count in cells]
    outputs[1][0, 5] = outputs[4][0, 5] = 0.81  # stride 16: row 1, column 1
    outputs[10][0, 5] = (-1, -1, 1, -1, 0, 0, -1, 1, 1, 1)

    boxes, landmarks, scores = decoded(outputs, 64, 64)

    assert boxes.tolist() == [[8, 8, 24, 24]]
    assert landmarks[0].tolist() == [[0, 0], [32, 0], [16, 16], [0, 32], [32, 32]]
    assert scores == pytest.approx([0.81])


def test_without_auraface_there_is_no_embedding(tmp_path: Path):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(face_graphs.yunet())

    analyzer = load_yunet(tmp_path, device="cpu", threads=1)

    assert analyzer.space is None
    assert analyzer.analyze(skimage.data.astronaut())[0].embedding is None


def test_a_file_that_is_not_auraface_is_refused_by_name(tmp_path: Path):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(face_graphs.yunet())
    (tmp_path / "auraface_glintr100.onnx").write_bytes(face_graphs.recogniser())

    with pytest.raises(
        FacesUnavailable, match=r"auraface_glintr100\.onnx is not the published file.*expected d2c9d762"
    ):
        load_yunet(tmp_path, device="cpu", threads=1)


def test_another_graph_under_yunets_name_is_refused(tmp_path: Path):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(face_graphs.scrfd())

    with pytest.raises(FacesUnavailable, match="lacks cls_16"):
        load_yunet(tmp_path, device="cpu", threads=1)


def test_a_wide_picture_is_padded_to_whole_strides():
    canvas = fitted(np.full((100, 300, 3), 200, np.uint8), 320, 128)

    assert canvas.scale == pytest.approx(106 / 100)
    assert canvas.image[:106].min() == 200
    assert not canvas.image[106:].any()
