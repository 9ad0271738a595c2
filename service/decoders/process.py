"""One decoder process as the front sees it: spawn, ask, kill."""

import asyncio
import contextlib
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models.wire.picture import Picture
from models.wire.tray import Tray, send_tray
from service.decoders.protocol import (
    HEADER,
    Answer,
    DecoderReady,
    DecoderSetup,
    ImageLimits,
    Refused,
    decode_answer,
    encode,
)
from service.frames import Frames

START_SECONDS = 20.0  # 0.2 s on an idle machine; generous, because a busy one is no reason to fail
CHUNK_BYTES = 256 * 1024  # keeps the transport's own copy of a selfie small
COMMAND = (sys.executable, "-P", "-s", "-B", "-m", "service.decoders.decoder")
PACKAGE_ROOT = Path(__file__).resolve().parents[2]

# Nothing of the front's own environment: no secrets, and no LIBHEIF_SECURITY_LIMITS=OFF. Every block over 128 kB is
# its own mapping, so that freed pixels go back to the system at once. OpenBLAS, unused here, would otherwise start a
# thread for each core.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": str(PACKAGE_ROOT),
}


class DecoderDied(Exception):
    """The process ended, or broke the protocol, before its answer was complete."""

    def __init__(self, what: str, exit_code: int | None = None) -> None:
        super().__init__(f"{what} (exit code {exit_code})")
        self.was_killed = exit_code == -signal.SIGKILL
        self.was_slow = exit_code == -signal.SIGPROF  # its own timer


class Answers:
    """A child's answers that have not been read yet: one frame at most; with a second the connection is closed."""

    def __init__(self, max_bytes: int) -> None:
        self.frames = Frames(HEADER, max_bytes, self._put)
        self.frames.ended.add_done_callback(lambda _: self._settle(None))
        self._next: asyncio.Future[bytearray | None] = asyncio.get_running_loop().create_future()

    @property
    def ended(self) -> bool:
        """Whether the connection has closed, as far as is known."""
        return self.frames.ended.done()

    async def take(self) -> bytearray:
        """Wait for the next frame. Raises EOFError at the end. One caller at a time, and none after a cancelled one."""
        body = await self._next
        if body is None:
            raise EOFError
        self._next = asyncio.get_running_loop().create_future()
        if self.ended:
            self._settle(None)
        return body

    def _put(self, body: bytearray) -> None:
        if self._next.done():
            self.close()
        else:
            self._settle(body)

    def _settle(self, body: bytearray | None) -> None:
        if not self._next.done():
            self._next.set_result(body)

    def close(self) -> None:
        self.frames.close()


class DecoderProcess:
    """Owns one child, a pipe and a tray socket to it, and a socket from it. Asyncio; one picture at a time.

    After any exception out of `decode`, a cancellation too, the child is in the middle of a frame: kill it.
    """

    def __init__(self, process: Process, answers: Answers, tray_socket: socket.socket, limits: ImageLimits) -> None:
        self._process = process
        self._answers = answers
        self._tray_socket = tray_socket
        self._limits = limits
        self._turn = asyncio.Lock()  # answers have one reader at a time, also when `end` overtakes `decode`
        self.ready = DecoderReady(formats=[])

    @classmethod
    async def spawn(cls, limits: ImageLimits, heic: bool) -> "DecoderProcess":
        """Start a confined child and wait for its first answer. Raises DecoderDied, also after a timeout; no child is
        left then."""
        child = await cls.start(COMMAND, limits)
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

    @classmethod
    async def start(cls, command: Sequence[str], limits: ImageLimits) -> "DecoderProcess":
        """Start a child that has not been asked anything yet. Its last argument is the tray socket's descriptor."""
        (ours, its), (tray_socket, its_tray_socket) = socket.socketpair(), socket.socketpair()
        tray_socket.setblocking(False)
        with its, its_tray_socket:
            answers = Answers(limits.max_answer_bytes)
            await asyncio.get_running_loop().create_unix_connection(lambda: answers.frames, sock=ours)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(its_tray_socket.fileno()),
                    stdin=PIPE,
                    stdout=its.fileno(),
                    pass_fds=(its_tray_socket.fileno(),),
                    cwd=PACKAGE_ROOT,
                    env=ENVIRONMENT,
                )
            except BaseException:
                answers.close()
                tray_socket.close()
                raise
        return cls(process, answers, tray_socket, limits)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """False once its exit has been noticed; until then calls raise DecoderDied."""
        return self._process.returncode is None and not self._answers.ended

    async def decode(self, data: memoryview) -> Picture | Refused:
        """Decode one file. Raises DecoderDied. The caller sets the timeout."""
        tray = Tray.empty(self._limits.max_pixel_bytes)
        async with self._turn:
            self._send_tray(tray)
            await self._send(data)
            answer = await self._receive()
        if isinstance(answer, DecoderReady):
            raise DecoderDied("a decoder answered out of turn")
        if isinstance(answer, Refused):
            return answer
        picture = Picture(
            width=answer.width, height=answer.height, rgb=answer.rgb, tray=tray, truncated=answer.truncated
        )
        if not self._is_plausible(picture):
            raise DecoderDied("a decoder's pixels don't match their size")
        return picture

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Kill it, wait for its exit, and close its pipe and sockets."""
        self.kill()
        stdin = self._process.stdin
        assert stdin is not None
        async with self._turn:
            stdin.close()
            self._tray_socket.close()
            self._answers.close()
            await self._process.wait()
            with contextlib.suppress(ConnectionError):
                await stdin.wait_closed()

    async def _greet(self, setup: DecoderSetup) -> None:
        await self._send(memoryview(encode(setup)))
        answer = await self._receive()
        if not isinstance(answer, DecoderReady):
            raise DecoderDied("a decoder's first answer was not that it is ready")
        self.ready = answer

    def _send_tray(self, tray: Tray | None) -> None:
        try:
            send_tray(self._tray_socket, tray)
        except OSError:
            raise DecoderDied("a decoder takes no tray") from None

    async def _send(self, body: memoryview) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.writelines([HEADER.pack(body.nbytes), body[:CHUNK_BYTES]])  # at once: each write wakes the child
            await stdin.drain()
            for start in range(CHUNK_BYTES, body.nbytes, CHUNK_BYTES):
                stdin.write(body[start : start + CHUNK_BYTES])
                await stdin.drain()
        except (ConnectionError, RuntimeError):  # uvloop says RuntimeError for a closed transport
            raise await self._death("a decoder stopped reading") from None

    async def _receive(self) -> Answer:
        try:
            return decode_answer(await self._answers.take())
        except msgspec.MsgspecError as error:
            raise DecoderDied("a decoder's answer makes no sense") from error
        except EOFError:
            if self._answers.frames.too_long:
                raise DecoderDied("a decoder's answer is too long") from None
            raise await self._death("a decoder ended") from None

    async def _death(self, what: str) -> DecoderDied:
        """Wait briefly for the exit code, which follows the closed socket; a child that stays alive is killed later."""
        try:
            async with asyncio.timeout(1.0):
                exit_code = await self._process.wait()
        except TimeoutError:
            exit_code = None
        return DecoderDied(what, exit_code)

    def _is_plausible(self, picture: Picture) -> bool:
        """Check what the front and the worker rely on: a child that a malicious file controls may answer anything."""
        in_range = all(1 <= side <= self._limits.output_side for side in (picture.width, picture.height))
        return in_range and len(picture.rgb) == (picture.num_bytes if picture.tray is None else 0)
