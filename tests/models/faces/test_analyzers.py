"""Loading by name, what crosses into logs, and what is not imported."""

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import face_graphs
import numpy as np
import pytest
import skimage.data

from models.faces import Face, FacesUnavailable, load_analyzer
from models.faces.analyzers import NAMES, licence_of
from models.faces.files import read_checked
from models.faces.network import Network
from models.faces.recogniser import Recogniser

ROOT = Path(__file__).parents[3]


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path):
    with pytest.raises(
        FacesUnavailable, match="no face analyzer 'dlib'; there are bundled, yunet, insightface:antelopev2"
    ):
        load_analyzer("dlib", bundled_dir=tmp_path, faces_dir=None, device="cpu", threads=1)


@pytest.mark.parametrize("name", ["yunet", "insightface:buffalo_l"])
def test_an_analyzer_that_needs_files_asks_for_their_folder(tmp_path: Path, name: str):
    with pytest.raises(FacesUnavailable, match="needs a folder with its ONNX files"):
        load_analyzer(name, bundled_dir=tmp_path, faces_dir=None, device="cpu", threads=1)


def test_missing_yunet_is_named_with_its_place_and_how_to_get_it(tmp_path: Path):
    with pytest.raises(FacesUnavailable, match=r"no face_detection_yunet\*\.onnx in .*opencv_zoo"):
        load_analyzer("yunet", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)


def test_insightface_alone_is_not_for_commercial_use():
    assert {name for name in NAMES if licence_of(name).commercial == "no"} == {
        name for name in NAMES if name.startswith("insightface:")
    }


def test_a_face_s_repr_shows_neither_landmarks_nor_embedding():
    face = Face((1, 2, 3, 4), np.full((5, 2), 77.125), 0.9, np.full(512, 0.625), "fake")

    assert repr(face) == "Face(box=(1, 2, 3, 4), score=0.90, space=fake)"


def test_a_file_without_a_hash_on_record_is_logged_with_the_hash_it_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "some.onnx"
    path.write_bytes(b"bytes")

    with caplog.at_level(logging.WARNING):
        checked = read_checked(path, None)

    assert checked.space is None
    assert caplog.messages == [f"some.onnx is unverified: no hash is on record for it; its sha256 is {checked.sha256}"]


def test_a_file_that_is_no_graph_is_named(tmp_path: Path):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(b"<html>404</html>")

    with pytest.raises(
        FacesUnavailable, match=r"face_detection_yunet_2026may\.onnx is not an ONNX graph that can be run"
    ):
        load_analyzer("yunet", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)


def test_a_recogniser_of_another_width_is_refused():
    network = Network(face_graphs.recogniser(channels=8), device="cpu", threads=1)

    with pytest.raises(FacesUnavailable, match="the recogniser of small gives 128 numbers; 512 are needed"):
        Recogniser(network, "small")


def test_cuda_falls_back_to_the_cpu_where_onnxruntime_has_none():
    network = Network(face_graphs.recogniser(), device="cuda:0", threads=1)

    assert network(np.zeros((1, 3, 112, 112), np.float32))[0].shape == (1, 512)


def test_threads_get_the_same_faces_as_one_after_another(tmp_path: Path):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(face_graphs.yunet())
    analyzer = load_analyzer("yunet", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)
    pictures = [skimage.data.astronaut()[:, start : start + 320] for start in (0, 64, 128, 192)]
    alone = [[face.box for face in analyzer.analyze(picture)] for picture in pictures]

    with ThreadPoolExecutor(4) as pool:
        together = [[face.box for face in faces] for faces in pool.map(analyzer.analyze, pictures)]

    assert together == alone


def test_a_detector_looks_at_the_first_side_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(face_graphs.yunet())
    shown: list[tuple[int, ...]] = []
    plain = Network.__call__
    monkeypatch.setattr(Network, "__call__", lambda self, images: shown.append(images.shape[2:]) or plain(self, images))
    options = {"bundled_dir": tmp_path, "faces_dir": tmp_path, "device": "cpu", "threads": 1}
    picture = skimage.data.astronaut()[:384]

    assert load_analyzer("yunet", **options, first_side=320).detect(picture)
    assert load_analyzer("yunet", **options).detect(picture)

    assert shown == [(256, 320), (384, 512)]


def test_faces_import_neither_torch_nor_the_service():
    program = "import sys, models.faces; print(sorted({'torch', 'service', 'litestar', 'onnx'} & set(sys.modules)))"

    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"
