"""A front in a process of its own: on a free port, warm when entered, stopped when left, measured from outside."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SERVE = ("serve", "--port", "0", "--host", "127.0.0.1")
REAL = ("-m", "service", *SERVE)
READY_SECONDS = 600.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05
ANNOUNCED = re.compile(rb"^listening on (http://\S+)$.*^ready in ", re.MULTILINE | re.DOTALL)
RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


class NotReady(Exception):
    """The front ended before it was ready, or was late; the text has the end of what it said."""


def fake(*arguments: str) -> tuple[str, ...]:
    """A front before a worker that only sleeps; arguments are those of scripts/fronts/fake_worker.py."""
    return ("-m", "scripts.fronts.with_fake", *arguments, "--", *SERVE)


@dataclass(frozen=True, slots=True)
class Served:
    """A front that is ready."""

    pid: int
    url: str

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def cpu_seconds(self) -> float:
        """Of the front's own process: what other programs do to our clocks, they don't do to this."""
        return _cpu_seconds(self.pid)

    @property
    def decoder_seconds(self) -> float:
        """Of its decoders."""
        return sum(_cpu_seconds(pid) for pid in self._children() if b"service.decoders.decoder" in _command(pid))

    @property
    def resident_kilobytes(self) -> int:
        match = RESIDENT.search(Path(f"/proc/{self.pid}/status").read_text())
        assert match is not None
        return int(match[1])

    def pin(self, core: int, others: set[int]) -> None:
        """The front to one core; its worker, its decoders and this process to the others."""
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            os.sched_setaffinity(int(thread), {core})
        for pid in (*self._children(), os.getpid()):
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), others)

    def _children(self) -> list[int]:
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in found.split()]


@contextlib.contextmanager
def served(
    command: tuple[str, ...] = REAL,
    environment: Mapping[str, str] | None = None,
    *,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[Served]:
    """Raises NotReady. `environment` is added to this process's own; the front is stopped whatever happens between."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | (environment or {}),
            process_group=0,  # Ctrl-C comes to us alone, and we stop the front in order
        )
        try:
            yield Served(process.pid, _wait_until_ready(process, log, ready_seconds))
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: IO[bytes], seconds: float) -> str:
    """Where it listens."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := ANNOUNCED.search(os.pread(log.fileno(), 1 << 20, 0)):
            return found[1].decode()
        if process.poll() is not None:
            raise NotReady(f"the service ended with status {process.returncode} before it was ready:\n{_tail(log)}")
        time.sleep(LOOK_SECONDS)
    raise NotReady(f"the service was not ready within {seconds:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"the service did not stop within {STOP_SECONDS:.0f} s: killed", flush=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and what it may have left behind
    process.wait()


def _tail(log: IO[bytes], lines: int = 20) -> str:
    text = os.pread(log.fileno(), 1 << 20, max(0, os.fstat(log.fileno()).st_size - (1 << 16)))
    return "\n".join(text.decode(errors="replace").splitlines()[-lines:])


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
