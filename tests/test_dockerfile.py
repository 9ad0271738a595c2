"""The container's text against the settings: the lines that start it do start it. No engine is needed."""

import re
import shlex
from pathlib import Path

import pytest

from service.settings import load_settings, refuse_open_network

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text()
README = (ROOT / "service" / "README.md").read_text()
IMAGE = "proofsheet"
VALUES = {"-e", "-p", "-v", "--gpus", "--tmpfs", "--cap-drop", "--security-opt", "--stop-timeout"}


def run_lines() -> list[str]:
    comments = "\n".join(line.removeprefix("#") for line in DOCKERFILE.splitlines() if line.startswith("#"))
    text = comments + "\n" + README
    found = re.findall(r"^ *docker run (?:.*\\\n)*.*$", text, re.MULTILINE)
    return [line.replace("\\\n", " ") for line in found if line.split()[-1] == IMAGE]


def options(line: str) -> list[tuple[str, str]]:
    """Options with their values; the image is the last word."""
    words = iter(shlex.split(line)[2:-1])
    return [(word, next(words) if word in VALUES else "") for word in words]


def flags_of_command() -> dict[str, str]:
    command = re.search(r"^CMD \[(.*)\]$", DOCKERFILE, re.MULTILINE)
    assert command is not None
    words = [word.strip().strip('"') for word in command[1].split(",")]
    assert words[:2] == ["proofsheet", "serve"]
    return {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(words[2::2], words[3::2], strict=True)
    }


def test_there_are_lines_to_start_it_in_the_dockerfile_and_in_the_readme() -> None:
    assert len(run_lines()) == 3


@pytest.mark.parametrize("line", run_lines())
def test_a_line_that_starts_the_container_gives_settings_that_are_not_refused(line: str) -> None:
    image = dict(re.findall(r"(PROOFSHEET_\w+)=(\S+)", "".join(re.findall(r"^ENV (?:.*\\\n)*.*$", DOCKERFILE, re.M))))
    given = dict(value.split("=", 1) for name, value in options(line) if name == "-e")
    settings = load_settings(image | given, flags_of_command())
    refuse_open_network(settings)
    ports = [value for name, value in options(line) if name == "-p"]
    assert [port.rpartition(":")[2] for port in ports] == [str(settings.port)]
    if settings.insecure:
        assert ports[0].startswith("127.0.0.1:")


@pytest.mark.parametrize("line", run_lines())
def test_a_file_that_a_setting_names_is_in_a_mounted_folder(line: str) -> None:
    mounted = [value.split(":")[1] for name, value in options(line) if name == "-v"]
    paths = [value.split("=", 1)[1] for name, value in options(line) if name == "-e" and "=/" in value]
    assert all(any(path.startswith(f"{folder}/") for folder in mounted) for path in paths)


def test_the_user_that_the_readme_gives_the_secrets_is_the_images() -> None:
    user = re.search(r"^USER (\d+:\d+)$", DOCKERFILE, re.MULTILINE)
    assert user is not None
    assert f"chown -R {user[1]} " in README


def test_the_packages_that_a_refusal_names_are_an_argument_of_the_image() -> None:
    compiling = (ROOT / "models/sdxl/compiling.py").read_text()
    (argument,) = set(re.findall(r'--build-arg (\w+)="gcc libc6-dev python3-dev"', compiling + README + DOCKERFILE))
    assert re.search(rf"^ARG {argument}=", DOCKERFILE, re.MULTILINE)
