"""A front in a process of its own, to be measured from outside: its processor time, its memory, its cores."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtest.overload import cpu_seconds, resident_megabytes

SERVE = ("serve", "--port", "0", "--host", "127.0.0.1")
REAL = ("-m", "service", *SERVE)
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def fake(*arguments: str) -> tuple[str, ...]:
    """A front before a worker that only sleeps; arguments are those of tests/fakes.py."""
    return ("-m", "tests.service.front_with_fake", *arguments, "--", *SERVE)


@dataclass(frozen=True, slots=True)
class Served:
    """A front that is ready."""

    pid: int
    port: int

    @property
    def cpu_seconds(self) -> float:
        """Of the front's own process."""
        return cpu_seconds(self.pid)

    @property
    def decoder_seconds(self) -> float:
        """Of its decoders."""
        return sum(cpu_seconds(pid) for pid in self._children() if b"service.decoders.decoder" in _command(pid))

    @property
    def resident_kilobytes(self) -> float:
        return resident_megabytes(self.pid) * 1024

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
def served(command: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | (environment or {}),
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        process.stdout.readline()  # ready
        try:
            yield Served(process.pid, int(address.rsplit(":", 1)[1]))
        finally:
            process.terminate()


def request(target: str, content_type: str, body: bytes, accept: str) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: front\r\nContent-Type: {content_type}\r\nAccept: {accept}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """Kept open over many requests, one at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def begin(self, request: bytes) -> None:
        """Until the answer begins, whose body is never read. Raises AssertionError for any status but 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head

    async def ask(self, request: bytes) -> bytes:
        """The answer's body. Raises AssertionError for any status but 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length is not None, head
        body = await self._reader.readexactly(int(length[1]))
        assert head.startswith(b"HTTP/1.1 200"), body[:500]
        return body

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
