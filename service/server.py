"""uvicorn, with the deadlines that it lacks, a port that can be free, and a clean exit after a drain.

A client has a time to send its headers, a time for its body and a time to take its answer; over it, the connection is
cut. One that is closed on an unread body is drained first. Connections are not counted against a limit: idle ones
would make the health page fail.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any, cast

import click
import uvicorn
from litestar import Litestar

from service.arrival import Arrival
from service.entry import INTERRUPTED, interrupt
from service.half_close import HalfCloseProtocol
from service.jobs.jobs import Jobs
from service.lingering import LingeringTransport
from service.metrics import package_version
from service.settings import Settings
from service.workers.protocol import Workers

logger = logging.getLogger("proofsheet.server")

BODY_GRACE_SECONDS = 2.0  # the body's own reader answers 408 first; this is for a body that nobody reads


def protocol_with_deadlines(settings: Settings) -> type[HalfCloseProtocol]:
    """uvicorn's HTTP protocol, which by itself waits for a client forever."""

    class DeadlineProtocol(HalfCloseProtocol):
        """Belongs to one connection; at most one receive and one write timer run."""

        _receive_timer: asyncio.TimerHandle | None = None
        _write_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:  # pyright: ignore
            super().connection_made(cast(asyncio.Transport, transport))
            self._lingering = LingeringTransport(self.transport, self._has_unread)
            self.transport = cast(asyncio.Transport, self._lingering)
            self._arrival = Arrival(settings.pace, self.loop.time())
            self._arm(settings.header_seconds)

        def data_received(self, data: bytes) -> None:
            if self._lingering.is_lingering:
                return
            super().data_received(data)
            idle = self.cycle is None or self.cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]
            if idle and self._receive_timer is None and not self.transport.is_closing():
                self._arm(settings.header_seconds)  # bytes that begin no request keep no connection open

        def on_headers_complete(self) -> None:
            self._arrival = Arrival(settings.pace, self.loop.time())
            self._await_body()
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._arrival.add(len(body), self.loop.time())
            self._await_body()
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._disarm()
            super().on_message_complete()

        def on_message_begin(self) -> None:
            self._arm(settings.header_seconds)
            super().on_message_begin()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._write_timer = self.loop.call_later(settings.write_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._stop_write_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            self._stop_write_timer()
            self._lingering.lost()
            super().connection_lost(exc)

        def _has_unread(self) -> bool:
            cycle: Any = self.cycle
            return cycle is not None and cycle.more_body

        def _await_body(self) -> None:
            self._arm(self._arrival.late_at - self.loop.time() + BODY_GRACE_SECONDS)

        def _arm(self, seconds: float) -> None:
            self._disarm()
            self._receive_timer = self.loop.call_later(seconds, self.transport.abort)

        def _disarm(self) -> None:
            if self._receive_timer is not None:
                self._receive_timer.cancel()
                self._receive_timer = None

        def _stop_write_timer(self) -> None:
            if self._write_timer is not None:
                self._write_timer.cancel()
                self._write_timer = None

    return DeadlineProtocol


class FrontServer(uvicorn.Server):
    """Announces its address and its warmth, stops admitting at the first signal, and has an exit status.

    0 after a drain, 1 when the service can't go on, 130 when Ctrl-C came before it was warm.
    """

    def __init__(
        self, config: uvicorn.Config, jobs: Jobs, workers: Workers, address: str, ready_file: Path | None
    ) -> None:
        super().__init__(config)
        self.status = 0
        self._is_warm = False
        self._jobs = jobs
        self._workers = workers
        self._address = address
        self._ready_file = ready_file
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        started = time.monotonic()
        await super().startup(sockets)
        if not self.started:
            self.status = 1
            return
        click.echo(f"listening on {self._address}")
        logger.info("listening", extra={"fields": {"address": self._address, "version": package_version()}})
        self._tasks = [asyncio.create_task(self._announce(started)), asyncio.create_task(self._watch_workers())]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        began = time.monotonic()
        self._jobs.stopping = True
        for task in self._tasks:
            task.cancel()
        if self.status != INTERRUPTED:
            logger.info("stopping", extra={"fields": {"jobs": self._jobs.in_flight}})
        await super().shutdown(sockets)
        what = "interrupted before it was ready" if self.status == INTERRUPTED else "stopped"
        fields = {"status": self.status, "seconds": round(time.monotonic() - began, 2)}
        logger.info(what, extra={"fields": fields})

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT and not self.started:
            interrupt(sig, frame)  # no job can be there yet
        if sig == signal.SIGINT and not self._is_warm:
            self.status = INTERRUPTED
        self._jobs.stopping = True
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Like uvicorn's, but the exit status after a drain is ours and not the signal's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def _announce(self, started: float) -> None:
        await self._workers.wait_ready()
        self._is_warm = True
        seconds = time.monotonic() - started
        line = f"ready in {seconds:.1f} s"
        click.echo(line)
        logger.info("ready", extra={"fields": {"seconds": round(seconds, 1)}})
        if self._ready_file is not None:
            await asyncio.to_thread(self._ready_file.write_text, f"{self._address}\n{line}\n")

    async def _watch_workers(self) -> None:
        reason = await self._workers.gave_up()
        click.echo(f"giving up: {reason}", err=True)
        self.status = 1
        self.should_exit = True


def make_server(
    app: Litestar, settings: Settings, workers: Workers, port: int, ready_file: Path | None = None
) -> FrontServer:
    """A server that will listen where the caller's socket is bound; `port` is for the announcement."""
    config = uvicorn.Config(
        cast(Any, app),
        http=protocol_with_deadlines(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # ours are read by service/api/forwarded.py
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return FrontServer(config, app.state.front.jobs, workers, f"http://{host}:{port}", ready_file)


def listen(settings: Settings) -> socket.socket:
    """A bound socket, of both families where the host is `::`. Raises OSError when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    both = settings.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((settings.host, settings.port), family=family, backlog=2048, dualstack_ipv6=both)


async def serve(
    app: Litestar, settings: Settings, workers: Workers, bound: socket.socket, ready_file: Path | None = None
) -> int:
    """Serve until a signal; the exit status, as FrontServer has it."""
    server = make_server(app, settings, workers, bound.getsockname()[1], ready_file)
    await server.serve([bound])
    return server.status
