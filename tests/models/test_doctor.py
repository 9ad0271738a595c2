"""`python -m models.doctor`: findings, never a crash."""

import json
import subprocess
import sys

import pytest

from tests.models.faces import face_graphs


def examine(*arguments):
    command = [sys.executable, "-m", "models.doctor", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_complete_bundle_is_present_and_a_lost_file_is_named_with_its_origin(weights_dir):
    arguments = ("--manifest", str(weights_dir / "manifest.toml"), "--weights-dir", str(weights_dir))
    [bundle] = examine(*arguments)["bundles"]
    assert (bundle["name"], bundle["present"], bundle["missing"]) == ("golden", True, [])
    [adapter] = bundle["adapters"]
    assert adapter["name"] == "photomaker"
    assert adapter["own_bytes"] > adapter["shared_bytes"] > 0
    (weights_dir / "base" / "unet" / "config.json").unlink()
    [bundle] = examine(*arguments)["bundles"]
    assert not bundle["present"]
    assert bundle["missing"] == ["base/unet/config.json (from made by a test)"]


@pytest.fixture(scope="module")
def usual():
    return examine()


def test_without_a_weights_folder_the_command_that_fills_one_is_told(usual):
    bundles = {bundle["name"]: bundle for bundle in usual["bundles"]}
    assert bundles["tiny"]["present"]
    assert bundles["commercial"]["how"].startswith("proofsheet fetch commercial --weights-dir FOLDER")


def test_a_broken_manifest_is_a_finding(tmp_path):
    path = tmp_path / "manifest.toml"
    path.write_text("bundles = 3")
    [finding] = examine("--manifest", str(path))["bundles"]
    assert not finding["present"]
    assert "manifest.toml" in finding["how"]


def test_the_face_analyzers_are_listed_with_their_terms(usual):
    faces = {face["name"]: face for face in usual["faces"]}
    assert faces["bundled"]["present"]
    assert faces["insightface:buffalo_l"]["commercial"] == "no"
    assert "folder" in faces["yunet"]["problem"]


def test_a_face_detector_says_where_it_looks_first(tmp_path):
    (tmp_path / "face_detection_yunet_2026may.onnx").write_bytes(face_graphs.yunet())
    faces = {face["name"]: face for face in examine("--faces-dir", str(tmp_path), "--face-side", "320")["faces"]}
    assert faces["yunet"]["sides"] == [320, 640]
    assert faces["bundled"]["sides"] == []


def test_every_bundle_has_a_verdict_and_the_memory_that_it_will_need(usual):
    bundles = {bundle["name"]: bundle for bundle in usual["bundles"]}
    assert bundles["tiny"]["verdict"] == "ready"
    assert bundles["commercial"]["verdict"] == "19 files are missing"
    assert "--accept-noncommercial" in bundles["research"]["verdict"]
    assert 6e9 < bundles["commercial"]["gpu_bytes"] < 9e9
    assert bundles["commercial"]["cpu_bytes"] == 2 * bundles["commercial"]["gpu_bytes"]


def test_a_package_that_is_not_installed_is_a_finding():
    package = "onnxruntime"
    code = f"import sys, runpy; sys.modules['{package}'] = None; runpy.run_module('models.doctor', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    [faces] = found["faces"]
    assert f"the package {package} is not installed" in faces["problem"]
    tiny = next(bundle for bundle in found["bundles"] if bundle["name"] == "tiny")
    assert f"the package {package} is not installed" in tiny["verdict"]
