"""A worker in a process of its own: a socket pair, frames both ways, and its exit.

The worker gets one end as an inherited file descriptor and nothing else: no port, no path, no environment of ours.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

import models
from models.messages import (
    HEADER,
    MAX_FRAME_BYTES,
    FromWorker,
    Setup,
    ToWorker,
    decode_from_worker,
    encode_frame,
)
from service.settings import PREFIX

logger = logging.getLogger("proofsheet.worker")

WORKER_COMMAND = (sys.executable, "-m", "models.worker")
SOCKET_BUFFER_BYTES = 1 << 20
# What a library would fetch or report by itself, it does not: weights are local, and usage is nobody's business.
SILENCE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}
EXIT_SECONDS = 2.0  # a worker whose socket closed has this long to exit by itself


class ProcessLink:
    """One worker process. Used from the event loop's thread only."""

    def __init__(self, process: asyncio.subprocess.Process, frames: "Frames") -> None:
        self.pid: int | None = process.pid
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._process = process
        self._frames = frames
        self._watch = asyncio.create_task(self._watch_exit())

    def send(self, message: ToWorker) -> None:
        self._frames.send(message)

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return

    async def _watch_exit(self) -> None:
        exited = asyncio.create_task(self._process.wait())
        done, _ = await asyncio.wait({exited, self._frames.ended}, return_when=asyncio.FIRST_COMPLETED)
        if exited not in done:
            await asyncio.wait({exited}, timeout=EXIT_SECONDS)
            self.kill()
            await exited
        await self._frames.drain()
        self._frames.close()
        self.closed.set_result(_exit_reason(self._process.returncode))


class Frames(asyncio.Protocol):
    """Cuts the byte stream into messages. A frame that breaks the protocol ends the connection."""

    def __init__(self, on_message: Callable[[FromWorker], None]) -> None:
        self._on_message = on_message
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue] - uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._buffer)
            end = HEADER.size + size
            if size <= MAX_FRAME_BYTES and len(self._buffer) < end:
                return
            try:
                if size > MAX_FRAME_BYTES:
                    raise msgspec.DecodeError("frame over the limit")
                with memoryview(self._buffer) as view:
                    message = decode_from_worker(view[HEADER.size : end])
            except msgspec.MsgspecError as error:
                logger.error("a worker broke the protocol: %s", type(error).__name__)
                self.close()
                return
            del self._buffer[:end]
            self._on_message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def send(self, message: ToWorker) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode_frame(message))

    async def drain(self) -> None:
        """Wait until the last bytes of a process that has exited are read."""
        await asyncio.wait({self.ended}, timeout=EXIT_SECONDS)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def launch_process(
    setup: Setup, on_message: Callable[[FromWorker], None], *, command: Sequence[str] = WORKER_COMMAND
) -> ProcessLink:
    """Start `command --fd N` and send it its Setup. Raises OSError when it can't be started."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    try:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
        ours.setblocking(False)
        process = await asyncio.create_subprocess_exec(
            *command,
            "--fd",
            str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=worker_environment(),
            preexec_fn=os.setpgrp,  # Ctrl-C in a terminal is for the front, which ends its workers in order
        )
        _, frames = await loop.create_unix_connection(lambda: Frames(on_message), sock=ours)
    except BaseException:
        ours.close()  # a worker that did start reads the end of its socket and exits
        raise
    finally:
        theirs.close()
    frames.send(setup)
    return ProcessLink(process, frames)


def worker_environment() -> dict[str, str]:
    """Ours without our settings, and with the folder that holds `models` importable from anywhere."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    assert models.__file__ is not None
    root = str(Path(models.__file__).parent.parent)
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else root
    # OpenMP's threads spin while they wait, and a worker's engine and preparation threads then starve each other:
    # eight jobs one after another took 1.6 to 1.9 times as long on two busy cores (scripts/bench_engine.py).
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment | SILENCE


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {signal.Signals(-code).name}"
    return f"exit status {code}"
