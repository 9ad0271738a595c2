"""A run of locust ends with its JSON line, whatever became of the run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LOCUSTFILE = Path(__file__).resolve().parents[2] / "loadtest" / "locustfile.py"
OPEN_LOOP = ["OpenLoop", "--rate", "20", "--seconds", "0.2", "--arrivals", "even"]
NOBODY = "http://127.0.0.1:9"  # the discard port: nothing listens there


@pytest.mark.parametrize(
    ("arguments", "num_reasons"),
    [
        (["--max-lag-ms", "1e9", "--within", "0"], 0),
        (["--max-lag-ms", "1e9"], 1),
        (["--max-lag-ms", "-1"], 2),
    ],
)
def test_the_last_line_is_json_in_every_case(tmp_path: Path, arguments: list[str], num_reasons: int) -> None:
    selfie = tmp_path / "selfie.jpg"
    selfie.write_bytes(b"no service reads it")
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LOCUSTFILE),
        "--headless",
        "-H",
        NOBODY,
        "--selfie",
        str(selfie),
    ]
    done = subprocess.run(
        [*command, *OPEN_LOOP, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=LOCUSTFILE.parent.parent,
        check=False,
    )
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["answered"] == 0
    assert sum(figures["misses"].values()) == figures["offered"] > 0
    assert len(figures["failed"]) == num_reasons
    assert done.returncode == 1
