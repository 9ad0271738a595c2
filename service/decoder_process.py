"""One decoder process as the front sees it: spawn, ask, kill."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import msgspec

from service.decoding import (
    HEADER,
    Answer,
    Decoded,
    DecoderReady,
    DecoderSetup,
    ImageLimits,
    Refused,
    decode_answer,
    encode,
)

START_SECONDS = 20.0  # 0.2 s on an idle machine; generous, because a busy one is no reason to fail
CHUNK_BYTES = 256 * 1024  # keeps the transport's own copy of a selfie small
READY_BYTES = 64 * 1024
PACKAGE_ROOT = Path(__file__).resolve().parents[1]

# Nothing of the front's own environment: no secrets, and no LIBHEIF_SECURITY_LIMITS=OFF. Every block over 128 kB is
# its own mapping, so that freed pixels go back to the system at once. numpy's algebra, which nobody uses here, would
# otherwise keep a thread for each core.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "OPENBLAS_NUM_THREADS": "1",
}


class DecoderDied(Exception):
    """The process ended, or stopped making sense, before its answer was whole."""

    def __init__(self, what: str, exit_code: int | None = None) -> None:
        super().__init__(f"{what} (exit code {exit_code})")
        self.was_killed = exit_code == -signal.SIGKILL


class DecoderProcess:
    """Owns one child and its two pipes. Asyncio; one picture at a time.

    After any exception out of `decode`, a cancellation too, the child is in the middle of a frame: kill it.
    """

    def __init__(self, process: Process, limits: ImageLimits) -> None:
        self._process = process
        self._limits = limits
        self._turn = asyncio.Lock()  # a pipe has one reader at a time, also when `end` overtakes `decode`
        self.ready = DecoderReady(formats=[])

    @classmethod
    async def spawn(cls, limits: ImageLimits, heic: bool) -> "DecoderProcess":
        """Started, confined and answering. Raises DecoderDied, after its deadline too; no child is left then."""
        command = (sys.executable, "-s", "-B", "-m", "service.decoder")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, cwd=PACKAGE_ROOT, env=ENVIRONMENT
        )
        child = cls(process, limits)
        try:
            async with asyncio.timeout(START_SECONDS):
                await child._greet(DecoderSetup(limits=limits, heic=heic))
        except TimeoutError as error:
            await child.end()
            raise DecoderDied(f"a decoder did not answer within {START_SECONDS:g} s") from error
        except BaseException:
            await child.end()
            raise
        return child

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False as soon as its end has been noticed; what happens in between shows up as DecoderDied."""
        return self._process.returncode is None and not self._stdout.at_eof()

    async def decode(self, data: memoryview) -> Decoded | Refused:
        """Raises DecoderDied. Bounded by the caller's timeout."""
        async with self._turn:
            await self._send(data)
            answer = await self._receive(self._limits.max_answer_bytes)
        if isinstance(answer, DecoderReady):
            raise DecoderDied("a decoder answered out of turn")
        if isinstance(answer, Decoded) and not self._is_plausible(answer):
            raise DecoderDied("a decoder's pixels don't match their size")
        return answer

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Kill it and wait until it is gone and its pipes are closed."""
        self.kill()
        stdin = self._process.stdin
        assert stdin is not None
        async with self._turn:
            stdin.close()
            await self._process.communicate()
            with contextlib.suppress(ConnectionError):
                await stdin.wait_closed()

    async def _greet(self, setup: DecoderSetup) -> None:
        await self._send(memoryview(encode(setup)))
        answer = await self._receive(READY_BYTES)
        if not isinstance(answer, DecoderReady):
            raise DecoderDied("a decoder's first answer was not that it is ready")
        self.ready = answer

    async def _send(self, body: memoryview) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(HEADER.pack(body.nbytes))
            for start in range(0, body.nbytes, CHUNK_BYTES):
                stdin.write(body[start : start + CHUNK_BYTES])
                await stdin.drain()
        except (ConnectionError, RuntimeError):  # uvloop says RuntimeError for a closed transport
            raise await self._death("a decoder stopped reading") from None

    async def _receive(self, max_bytes: int) -> Answer:
        try:
            (length,) = HEADER.unpack(await self._stdout.readexactly(HEADER.size))
            if length > max_bytes:
                raise DecoderDied("a decoder's answer is too long")
            return decode_answer(await self._stdout.readexactly(length))
        except msgspec.MsgspecError as error:
            raise DecoderDied("a decoder's answer makes no sense") from error
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._death("a decoder ended") from None

    async def _death(self, what: str) -> DecoderDied:
        """Its pipes close a moment before its exit code is known; one that closed them and lives on is killed."""
        try:
            async with asyncio.timeout(1.0):
                exit_code = await self._process.wait()
        except TimeoutError:
            exit_code = None
        return DecoderDied(what, exit_code)

    @property
    def _stdout(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    def _is_plausible(self, answer: Decoded) -> bool:
        """A child that a file has taken over may say anything; the front and the worker trust these three."""
        sides = (answer.width, answer.height)
        in_range = all(1 <= side <= self._limits.output_side for side in sides)
        return in_range and len(answer.rgb) == 3 * answer.width * answer.height
