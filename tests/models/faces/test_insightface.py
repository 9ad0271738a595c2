"""Packs from local folders: which files, which hashes, which space; and what is said when one is missing."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path

import face_graphs
import numpy as np
import pytest
import skimage.data

from models.faces.analyzers import load_analyzer
from models.faces.files import CheckedFile, FacesUnavailable, KnownFile
from models.faces.insightface import ANTELOPEV2, BUFFALO_L, Pack, load_manifest_pack, load_pack
from models.faces.network import Network

ROOT = Path(__file__).parents[3]
DETECTOR, RECOGNISER = face_graphs.scrfd(4), face_graphs.recogniser()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def network(checked: CheckedFile) -> Network:
    return Network(checked.data, device="cpu", threads=1)


def fake(pack: Pack) -> Pack:
    """The pack with the hashes of our small graphs."""
    recogniser = KnownFile(sha256(RECOGNISER), space=pack.recogniser.space)
    return replace(pack, detector=KnownFile(sha256(DETECTOR)), recogniser=recogniser)


def written(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, data in files.items():
        (folder / f"{stem}.onnx").write_bytes(data)
    return folder


def manifest(folder: Path, **recognition: object) -> None:
    tasks = {
        "detection": {"file": "detector.onnx", "sha256": sha256(DETECTOR)},
        "recognition": {"file": "recogniser.onnx", **recognition},
        "verification": {"file": "verifier.onnx", "expansion": 1.3},
    }
    document = {"manifest_version": 2, "model_id": "raccoon_l", "license": "MODEL.LICENSE", "tasks": tasks}
    (folder / "manifest.json").write_text(json.dumps(document))


@pytest.mark.parametrize("place", ["buffalo_l", "buffalo_l/buffalo_l", "models/buffalo_l"])
def test_a_pack_is_found_where_unpacking_leaves_it(tmp_path: Path, place: str):
    written(tmp_path / place, det_10g=DETECTOR, w600k_r50=RECOGNISER)

    analyzer = load_pack(fake(BUFFALO_L), tmp_path, network)

    assert (analyzer.name, analyzer.space) == ("insightface:buffalo_l", "buffalo_l")


def test_the_first_side_reaches_the_detector(tmp_path: Path):
    written(tmp_path / "buffalo_l", det_10g=DETECTOR, w600k_r50=RECOGNISER)

    assert load_pack(fake(BUFFALO_L), tmp_path, network).sides[0] == 640
    assert load_pack(fake(BUFFALO_L), tmp_path, network, 320).sides == (320, 256, 640, 576, 512, 448, 384)


def test_only_the_largest_face_is_embedded_and_comes_first(tmp_path: Path):
    written(tmp_path / "antelopev2", scrfd_10g_bnkps=DETECTOR, glintr100=RECOGNISER)

    faces = load_pack(fake(ANTELOPEV2), tmp_path, network).analyze(skimage.data.astronaut())

    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert faces[0].space == "antelopev2"
    assert faces[0].embedding is not None
    assert faces[0].embedding.shape == (512,)
    assert all(face.embedding is None and face.space is None for face in faces[1:])


def test_a_file_of_another_hash_is_refused_by_name(tmp_path: Path):
    written(tmp_path / "buffalo_l", det_10g=DETECTOR, w600k_r50=RECOGNISER + b"\0")

    with pytest.raises(
        FacesUnavailable, match=r"w600k_r50\.onnx is not the published file: its sha256 is [0-9a-f]{64}"
    ):
        load_pack(fake(BUFFALO_L), tmp_path, network)


def test_the_published_hashes_are_what_the_loader_asks_for(tmp_path: Path):
    written(tmp_path / "antelopev2", scrfd_10g_bnkps=DETECTOR, glintr100=RECOGNISER)

    with pytest.raises(FacesUnavailable, match=r"scrfd_10g_bnkps\.onnx .* expected 5838f7fe053675b1"):
        load_analyzer("insightface:antelopev2", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)


def test_a_missing_pack_is_named_with_its_place_and_how_to_get_it(tmp_path: Path):
    with pytest.raises(
        FacesUnavailable, match=r"antelopev2/scrfd_10g_bnkps\.onnx is missing\. Download antelopev2\.zip"
    ) as raised:
        load_analyzer("insightface:antelopev2", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)

    assert str(tmp_path / "antelopev2") in str(raised.value)
    assert "https://github.com/deepinsight/insightface/releases" in str(raised.value)
    assert "non-commercial" in str(raised.value)


def test_a_pack_that_lacks_its_recogniser_says_so(tmp_path: Path):
    written(tmp_path / "buffalo_l", det_10g=DETECTOR)

    with pytest.raises(FacesUnavailable, match=r"w600k_r50\.onnx is missing; the rest of its pack is there"):
        load_pack(fake(BUFFALO_L), tmp_path, network)


def test_a_detector_without_landmarks_is_refused(tmp_path: Path):
    boxes_only = face_graphs.scrfd(4, outputs=6)
    written(tmp_path / "buffalo_l", det_10g=boxes_only, w600k_r50=RECOGNISER)
    pack = replace(fake(BUFFALO_L), detector=KnownFile(sha256(boxes_only)))

    with pytest.raises(FacesUnavailable, match="has 6 outputs; a detector with landmarks has 9"):
        load_pack(pack, tmp_path, network)


def test_a_recogniser_with_two_outputs_is_refused(tmp_path: Path):
    written(tmp_path / "buffalo_l", det_10g=DETECTOR, w600k_r50=DETECTOR)
    pack = replace(fake(BUFFALO_L), recogniser=KnownFile(sha256(DETECTOR)))

    with pytest.raises(FacesUnavailable, match=r"w600k_r50\.onnx has 9 outputs; a recogniser has 1"):
        load_pack(pack, tmp_path, network)


def test_without_the_package_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    manifest(written(tmp_path / "raccoon_l", detector=DETECTOR, recogniser=RECOGNISER))
    monkeypatch.setitem(sys.modules, "insightface", None)

    with pytest.raises(
        FacesUnavailable,
        match=r"cannot be imported .*: pip install 'proofsheet\[insightface\]' && pip install --no-deps",
    ):
        load_analyzer("insightface:raccoon", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)


def test_the_package_runs_our_sessions_and_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Else its detector makes one for every size, each with as many threads as there are cores."""
    written(tmp_path / "buffalo_l", det_10g=DETECTOR, w600k_r50=RECOGNISER)
    analyzer = load_pack(fake(BUFFALO_L), tmp_path, network, first_side=320)
    monkeypatch.setattr("onnxruntime.InferenceSession", None)

    for picture in (skimage.data.astronaut(), np.zeros((64, 64, 3), np.uint8)):  # found at once, and at no size
        analyzer.analyze(picture)


def test_threads_get_the_same_faces_as_one_after_another(tmp_path: Path):
    written(tmp_path / "buffalo_l", det_10g=DETECTOR, w600k_r50=RECOGNISER)
    analyzer = load_pack(fake(BUFFALO_L), tmp_path, network)
    pictures = [skimage.data.astronaut()[:, start : start + 320] for start in (0, 64, 128, 192)]

    def seen(picture: np.ndarray) -> list[object]:
        faces = analyzer.analyze(picture)
        return [*(face.box for face in faces), *(face.embedding.tobytes() for face in faces[:1])]

    alone = [seen(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(seen, pictures))

    assert all(alone)
    assert together == alone


REACHED = ("socket.connect", "socket.getaddrinfo", "socket.gethostby", "socket.send", "urllib.Request", "subprocess.")
WATCHED = f"""
import sys
from pathlib import Path


def watch(event, arguments):
    if event.startswith({REACHED}) or (event == "open" and set(str(arguments[1])) & set("wax+")):
        raise RuntimeError((event, arguments))


sys.addaudithook(watch)

import skimage.data

from models.faces import load_analyzer

folder = Path(sys.argv[1])
analyzer = load_analyzer("insightface:raccoon", bundled_dir=folder, faces_dir=folder, device="cpu", threads=1)
assert analyzer.analyze(skimage.data.astronaut())[0].embedding is not None
assert "insightface" in sys.modules
"""


def test_the_package_reaches_for_nothing_and_leaves_nothing_behind(tmp_path: Path):
    """From its import to an embedding: no connection, no name looked up, no process, no file; see test_silence too."""
    manifest(written(tmp_path / "raccoon_l", detector=DETECTOR, recogniser=RECOGNISER))
    empty = tmp_path / "empty"
    empty.mkdir()
    names = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")
    environment = {key: value for key, value in os.environ.items() if key not in names}
    environment |= {"TMPDIR": str(empty), "HOME": str(empty), "XDG_CACHE_HOME": str(empty)}

    subprocess.run(
        [sys.executable, "-B", "-c", WATCHED, str(tmp_path)], cwd=ROOT, env=environment, timeout=60, check=True
    )

    assert list(empty.rglob("*")) == []


@pytest.mark.parametrize("module", ["cv2", "onnxruntime"])
def test_the_package_brought_no_second_build_of_what_it_stands_on(module: str):
    """opencv-python would lie over opencv-python-headless, onnxruntime over onnxruntime-gpu."""
    assert len(packages_distributions()[module]) == 1


def test_raccoon_takes_files_and_hashes_from_its_manifest(tmp_path: Path):
    manifest(written(tmp_path / "raccoon_l", detector=DETECTOR, recogniser=RECOGNISER), sha256=sha256(RECOGNISER))

    analyzer = load_analyzer("insightface:raccoon", bundled_dir=tmp_path, faces_dir=tmp_path, device="cpu", threads=1)

    assert (analyzer.name, analyzer.space) == ("insightface:raccoon_l", "raccoon_l")
    assert analyzer.analyze(skimage.data.astronaut())[0].space == "raccoon_l"


def test_embedded_preprocessing_hands_the_graph_raw_pixels(tmp_path: Path):
    folder = written(tmp_path / "raccoon_l", detector=DETECTOR, recogniser=RECOGNISER)
    manifest(folder)
    normalised = load_manifest_pack(folder, network).analyze(skimage.data.astronaut())[0].embedding
    manifest(folder, preprocessing="embedded")

    raw = load_manifest_pack(folder, network).analyze(skimage.data.astronaut())[0].embedding

    assert raw is not None
    assert normalised is not None
    assert np.abs(raw).max() > 50 * np.abs(normalised).max()


def test_a_manifest_with_a_wrong_hash_is_refused_by_name(tmp_path: Path):
    folder = written(tmp_path / "raccoon_s", detector=DETECTOR, recogniser=RECOGNISER)
    manifest(folder, sha256="0" * 64)

    with pytest.raises(FacesUnavailable, match=r"recogniser\.onnx is not the published file"):
        load_manifest_pack(folder, network)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("../escape.onnx", "escapes the package"),
        ("/etc/escape.onnx", "escapes the package"),
        ("a\\..\\escape.onnx", "must use a safe relative POSIX path"),
        ("notes.txt", r"must end in \.onnx"),
    ],
)
def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path, file: str, said: str):
    folder = written(tmp_path / "raccoon_l", detector=DETECTOR)
    manifest(folder, file=file)

    with pytest.raises(FacesUnavailable, match=rf"manifest\.json is not .* tasks\.recognition\.file .*{said}"):
        load_manifest_pack(folder, network)


def test_an_older_manifest_is_refused(tmp_path: Path):
    folder = written(tmp_path / "raccoon_l")
    (folder / "manifest.json").write_text('{"manifest_version": 1}')

    with pytest.raises(FacesUnavailable, match="not a version 2 manifest"):
        load_manifest_pack(folder, network)
