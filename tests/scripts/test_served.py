"""A front in a process of its own: ready when entered, gone when left, and loud about why it did not start."""

import os

import httpx
import pytest

from scripts.fronts.served import NotReady, fake, served


def test_a_front_is_ready_when_entered_and_gone_when_left():
    with served(fake(), {"PROOFSHEET_DECODERS": "1"}) as front:
        assert httpx.get(f"http://127.0.0.1:{front.port}/readyz").status_code == 200
        assert front.cpu_seconds > 0
        assert front.resident_kilobytes > 10_000
    with pytest.raises(ProcessLookupError):
        os.kill(front.pid, 0)


def test_a_front_that_ends_before_it_is_ready_says_why():
    with (
        pytest.raises(NotReady, match=r"(?s)ended with status \d+ .*no_such_bundle"),
        served(fake("--", "no_such_bundle")),
    ):
        pass


def test_a_front_that_is_late_is_stopped():
    late = pytest.raises(NotReady, match="was not ready within 1 s")
    with late, served(fake("--start-seconds", "60"), {"PROOFSHEET_DECODERS": "1"}, ready_seconds=1):
        pass
