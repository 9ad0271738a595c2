"""A worker in a process of its own: frames both ways, a socket for trays of pixels, and its exit.

The worker inherits the other ends as file descriptors and nothing else: no port, no path, none of our settings.
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
from models.wire.frames import HEADER, MAX_FRAME_BYTES, decode_from_worker, encode_frame
from models.wire.messages import FromWorker, ToWorker
from models.wire.setup import Setup
from models.wire.tray import Tray, send_tray
from models.worker.openmp import openmp_environment
from service.frames import Frames
from service.settings import PREFIX

logger = logging.getLogger("proofsheet.worker")

WORKER_COMMAND = (sys.executable, "-P", "-m", "models.worker")
SOCKET_BUFFER_BYTES = 1 << 20
# Keeps libraries from downloading weights and reporting usage, and processes that they start from importing what lies
# in the working folder.
SILENCE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONSAFEPATH": "1",
}
EXIT_SECONDS = 2.0  # a worker whose socket closed has this long to exit by itself


class ProcessLink:
    """One worker process. Used from the event loop's thread only."""

    def __init__(self, process: asyncio.subprocess.Process, frames: Frames, tray_socket: socket.socket) -> None:
        self.pid: int | None = process.pid
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._process = process
        self._frames = frames
        self._tray_socket = tray_socket
        self._watch = asyncio.create_task(self._watch_exit())

    def send(self, message: ToWorker) -> None:
        trays: list[Tray] = []
        frame = encode_frame(message, trays.append)
        try:
            for tray in trays:
                send_tray(self._tray_socket, tray)
        except OSError as error:  # it is gone, or has not read for hundreds of pictures
            logger.error("a worker takes no pixels: %s", type(error).__name__)
            self.kill()
        else:
            self._frames.send(frame)

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
        await asyncio.wait({self._frames.ended}, timeout=EXIT_SECONDS)  # until its last bytes are read
        self._frames.close()
        self._tray_socket.close()
        self.closed.set_result(_exit_reason(self._process.returncode))


async def launch_process(
    setup: Setup, on_message: Callable[[FromWorker], None], *, command: Sequence[str] = WORKER_COMMAND
) -> ProcessLink:
    """Start `command --fd N --tray-socket M` and send it its Setup. Raises OSError when it can't be started."""
    (ours, theirs), (tray_socket, their_tray_socket) = socket.socketpair(), socket.socketpair()
    loop = asyncio.get_running_loop()
    try:
        for end in (ours, theirs, tray_socket):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            end.setblocking(end is theirs)
        process = await asyncio.create_subprocess_exec(
            *command,
            "--fd",
            str(theirs.fileno()),
            "--tray-socket",
            str(their_tray_socket.fileno()),
            pass_fds=(theirs.fileno(), their_tray_socket.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            env=worker_environment(),
            preexec_fn=os.setpgrp,  # Ctrl-C in a terminal is for the front, which ends its workers in order
        )
        frames = Frames(HEADER, MAX_FRAME_BYTES, lambda body: _take(frames, body, on_message))
        await loop.create_unix_connection(lambda: frames, sock=ours)
    except BaseException:
        ours.close()  # a worker that did start reads the end of its socket and exits
        tray_socket.close()
        raise
    finally:
        theirs.close()
        their_tray_socket.close()
    frames.send(encode_frame(setup))
    return ProcessLink(process, frames, tray_socket)


def _take(frames: Frames, body: bytearray, on_message: Callable[[FromWorker], None]) -> None:
    """Decode a frame and pass it on; one that breaks the protocol ends the connection."""
    try:
        message = decode_from_worker(body)
    except msgspec.MsgspecError as error:
        logger.error("a worker broke the protocol: %s", type(error).__name__)
        frames.close()
    else:
        on_message(message)


def worker_environment() -> dict[str, str]:
    """This process's environment without our settings, with `models` importable from anywhere, and from nowhere else.

    An empty or relative entry of PYTHONPATH is the working folder, or lies in it.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
    assert models.__file__ is not None
    root = str(Path(models.__file__).parent.parent)
    known = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if os.path.isabs(folder)]
    environment["PYTHONPATH"] = os.pathsep.join([root, *known])
    return environment | openmp_environment(environment) | SILENCE


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {signal.Signals(-code).name}"
    return f"exit status {code}"
