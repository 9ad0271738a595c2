"""`proofsheet generate` and `proofsheet doctor`, as a person at a terminal meets them."""

import importlib.util
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from service.__main__ import FIELDS_OF_SERVICE, main
from service.api.forms.fields import flat_fields
from service.api.forms.portrait import PortraitForm
from service.cli.doctor import DoctorError, examine, is_usable, report
from service.settings import Settings
from tests.service.pictures import plain

FOUND = {
    "python": "3.11.7",
    "packages": {"torch": "2.13.0", "onnxruntime": None},
    "device": "cpu (2 cores)",
    "bundles": [
        {
            "name": "tiny",
            "title": "Embedded",
            "present": True,
            "missing": [],
            "how": "",
            "noncommercial": [],
            "adapters": [{"name": "photomaker-v2", "own_bytes": 30_200_000, "shared_bytes": 1_004_700_000}],
        },
        {
            "name": "lightning",
            "title": "Four steps",
            "present": False,
            "missing": [f"unet-{number}.safetensors" for number in range(9)],
            "how": "put each file there",
            "noncommercial": ["ip-adapter.bin"],
        },
    ],
    "faces": [
        {"name": "bundled", "present": True, "problem": "", "licence": "Apache-2.0", "commercial": "yes"},
        {"name": "yunet", "present": False, "problem": "no faces_dir", "licence": "MIT", "commercial": "yes"},
    ],
}


def proofsheet(*arguments, fake=()):
    command = [sys.executable, "-m", "scripts.fronts.with_fake", *fake, "--", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def selfie(tmp_path):
    path = tmp_path / "selfie.jpg"
    path.write_bytes(plain("JPEG"))
    return path


def test_generate_writes_the_portraits_and_says_where(tmp_path, selfie):
    options = ["-n", "2", "--seed", "7", "--style", "formal"]
    done = proofsheet("generate", str(selfie), "-o", str(tmp_path / "out"), *options)
    assert done.returncode == 0, done.stderr
    paths = done.stdout.splitlines()
    assert [path.rsplit("/", 1)[1] for path in paths] == ["portrait-1-seed-7.jpg", "portrait-2-seed-8.jpg"]
    assert (tmp_path / "out" / "portrait-2-seed-8.jpg").read_bytes() == b"image of seed 8"
    assert "loading the models" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--style", "magic"], "unknown_style: There is no style of that name"),
        (["-n", "many"], "invalid_field: The field 'n'"),
        (["--prompt", "FAIL:no_face:caller"], "no_face: As scripted."),
        (["--size", "64x64"], "unknown_size"),
    ],
)
def test_generate_says_in_one_line_what_is_wrong(tmp_path, selfie, arguments, message):
    done = proofsheet("generate", str(selfie), "-o", str(tmp_path), *arguments)
    assert done.returncode == 1
    assert f"Error: {message}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", [name for name in flat_fields(PortraitForm) if name not in FIELDS_OF_SERVICE])
def test_generate_has_an_option_for_every_field_that_needs_no_service(name):
    (option,) = [one for one in main.commands["generate"].params if one.name == name]
    assert option.opts == ["-n" if name == "n" else "--" + name.replace("_", "-")]
    assert option.help.endswith(".") or name == "size"


@pytest.mark.parametrize("name", FIELDS_OF_SERVICE)
def test_generate_has_no_option_that_only_a_service_can_follow(name):
    assert name in flat_fields(PortraitForm)
    assert name not in [one.name for one in main.commands["generate"].params]


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--guidance", "21", "a number from 0 to 20"),
        ("--control-strength", "firm", "a number from 0 to 1"),
        ("--quality", "0", "a whole number from 1 to 100"),
        ("--several-faces", "all", "largest (take the largest face)"),
        ("--region", "body", "picture, or face"),
        ("--deadline", "0", "a number of seconds"),
    ],
)
def test_generate_reads_its_options_as_a_request_is_read(selfie, option, value, rule):
    done = CliRunner().invoke(main, ["generate", str(selfie), option, value])
    name = option.removeprefix("--").replace("-", "_")
    assert done.exit_code == 1
    assert f"invalid_field: The field '{name}' is '{value}': it must be {rule}" in done.output


def test_generate_says_why_the_models_can_not_be_loaded(tmp_path, selfie):
    done = proofsheet("generate", str(selfie), "-o", str(tmp_path), fake=["--broken", "weights are missing"])
    assert done.returncode == 1
    assert "weights are missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_generate_refuses_a_file_that_is_no_picture(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("no picture")
    done = proofsheet("generate", str(path), "-o", str(tmp_path))
    assert done.returncode == 1
    assert "Error: image_not_recognised" in done.stderr


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["generate"]])
def test_without_onnxruntime_the_extra_that_brings_it_is_said_in_one_line(monkeypatch, selfie, command):
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else known(name))
    done = CliRunner().invoke(main, [*command, *([str(selfie)] if command == ["generate"] else [])])
    assert done.exit_code == 1
    assert done.output.startswith("Error: onnxruntime is not installed: install proofsheet with its extra cpu or")
    assert done.output.count("\n") == 1


def test_doctor_shows_what_is_missing_and_how_to_get_it():
    text = "\n".join(report(FOUND))
    assert "Device  cpu (2 cores)" in text
    assert "ok torch 2.13.0" in text
    assert "-- onnxruntime is not installed" in text
    assert "-- lightning: Four steps" in text
    assert "missing: unet-5.safetensors" in text
    assert "missing: 3 more files" in text
    assert "get it: put each file there" in text
    assert "not for commercial use: ip-adapter.bin" in text
    assert "adapter photomaker-v2: 30 MB of its own, 1,005 MB shared" in text
    assert "-- yunet (MIT, commercial use: yes)" in text


def test_a_bundle_is_usable_when_its_files_are_there():
    assert is_usable(FOUND, "tiny")
    assert not is_usable(FOUND, "lightning")
    assert not is_usable(FOUND, "unheard-of")


def test_a_doctor_that_fails_itself_is_an_error_with_its_last_line():
    with pytest.raises(DoctorError, match=r"No module named models\.nothing"):
        examine(Settings(), command=(sys.executable, "-m", "models.nothing"))


def test_a_doctor_is_read_from_its_last_line():
    code = "print('a warning'); print('{\"python\": \"3\"}')"
    assert examine(Settings(), command=(sys.executable, "-c", code)) == {"python": "3"}


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["generate", __file__]])
@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--bundle", "nope"], "bundle 'nope' is not in the manifest"),
        (["--bundle", "commercial", "--weights-dir", "/nowhere"], "proofsheet fetch commercial"),
        (["--bundle", "research"], "may not be used commercially"),
    ],
)
def test_weights_that_can_t_be_served_end_the_start_with_one_sentence(tmp_path, monkeypatch, command, options, why):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*command, *options])
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert why in result.output


def test_doctor_prints_json_for_a_program(monkeypatch):
    monkeypatch.setattr("service.__main__.examine", lambda _settings: FOUND)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert json.loads(result.stdout) == FOUND
