"""Nothing that lies in the working folder is imported: it may be a project of the caller's own, or somebody's trap."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.wire.reports import Ready
from models.wire.setup import Setup
from service.cli import doctor, fetch
from service.decoders import process as decoder
from service.decoders.process import DecoderProcess
from service.decoders.protocol import ImageLimits
from service.workers.process import WORKER_COMMAND, launch_process, worker_environment
from tests.service.harness import until

ROOT = Path(__file__).resolve().parents[2]
TRAPS = ["models.py", "service/__init__.py", "torch.py", "json.py", "numpy/__init__.py", "click.py", "scripts.py"]


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, full of modules whose import ends the process."""
    for trap in TRAPS:
        path = tmp_path / trap
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('imported from the working folder')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("trapped")
@pytest.mark.parametrize("path", [None, "", ".", os.pathsep, f"relative{os.pathsep}/nowhere"])
async def test_a_worker_starts_anywhere(monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    heard: list[object] = []
    *start, module = WORKER_COMMAND
    assert module == "models.worker"
    link = await launch_process(Setup(device="cpu"), heard.append, command=[*start, "scripts.fronts.fake_worker"])
    try:
        await until(lambda: any(isinstance(message, Ready) for message in heard) or link.closed.done(), 20)
        assert not link.closed.done()
    finally:
        link.kill()
        await link.closed


@pytest.mark.usefixtures("trapped")
async def test_a_decoder_starts_anywhere() -> None:
    child = await DecoderProcess.spawn(ImageLimits(max_bytes=1000, max_pixels=1000), heic=False)
    assert child.ready.formats
    await child.end()


@pytest.mark.usefixtures("trapped")
@pytest.mark.parametrize(
    ("command", "environment"),
    [
        (WORKER_COMMAND, worker_environment),
        (doctor.COMMAND, worker_environment),
        (fetch.COMMAND, worker_environment),
        (decoder.COMMAND, lambda: decoder.ENVIRONMENT),
    ],
    ids=lambda part: part[-1] if isinstance(part, tuple) else "",
)
async def test_every_child_and_what_it_starts_looks_for_modules_in_folders_of_ours_alone(command, environment) -> None:
    code = "import subprocess, sys; print(sys.path, flush=True); subprocess.run([sys.executable, *sys.argv[1:]])"
    interpreter = command[: command.index("-m")]
    told = subprocess.run(
        [*interpreter, "-c", code, "-c", "import sys; print(sys.path)"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    own, *childs = told.stdout.splitlines()
    assert str(ROOT) in own
    for paths in (own, *(childs if environment is worker_environment else [])):
        assert not {"", ".", os.getcwd()} & set(eval(paths))


@pytest.mark.usefixtures("trapped")
def test_the_console_script_starts_anywhere() -> None:
    script = Path(sys.executable).with_name("proofsheet")
    if not script.exists():
        pytest.skip(f"{script} is not there: this package is not installed")
    told = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=20, check=False)
    assert (told.returncode, told.stderr) == (0, "")
