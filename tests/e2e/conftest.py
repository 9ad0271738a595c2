"""The real service as a caller meets it: `proofsheet serve` in a process of its own, on the embedded bundle."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import pytest

READY_SECONDS = 120


@pytest.fixture(scope="session")
def service(tmp_path_factory) -> Iterator[httpx.Client]:
    """A client of a warm service. No file may ever appear in its temporary folder (torch makes an empty one there)."""
    temporary = tmp_path_factory.mktemp("service")
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--devices", "cpu", "--deadline-seconds", "100"]
    # CI silences libraries that would otherwise report home, so it must not be set where that is tested.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PROOFSHEET_") and key != "CI"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment | {"TMPDIR": str(temporary)})
    try:
        with httpx.Client(base_url=_address(process), timeout=110) as client:
            _wait_ready(client, process)
            yield client
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert [path for path in temporary.rglob("*") if not path.is_dir()] == []


def _address(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if match := re.search(r"listening on (http://\S+)", line):
            return match[1]
    raise AssertionError(f"the service ended with status {process.wait(10)} before it listened")


def _wait_ready(client: httpx.Client, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while client.get("/readyz").status_code != 200:
        assert process.poll() is None, "the service ended before it was ready"
        assert time.monotonic() < deadline, "the service did not get ready"
        time.sleep(0.2)
