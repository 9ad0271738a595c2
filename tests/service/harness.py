"""A front with fakes behind it: in this process over ASGI, or listening on a real port."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

import httpx
import msgspec
from litestar import Litestar

from models.wire.picture import Picture
from models.wire.setup import Setup
from scripts.fronts.fake_worker import FakeWorker, Script
from service.api.front import Front
from service.api.surface import Surface
from service.api.surfaces import SURFACES
from service.app import create_app
from service.errors import BadPicture
from service.metrics import Metrics
from service.secrets import Secrets
from service.server import make_server
from service.settings import Settings
from service.styles import load_styles
from service.telemetry import Tracer
from service.workers.in_process import launch_thread
from service.workers.protocol import Launcher
from service.workers.supervised import SupervisedWorkers
from service.workers.supervisor import SupervisionPolicy
from tests.service.figures import figure_of

QUICK = SupervisionPolicy(
    heartbeat_seconds=5.0,
    start_seconds=10.0,
    first_backoff_seconds=0.02,
    longest_backoff_seconds=0.05,
    stop_seconds=2.0,
)
SELFIE = b"\xff\xd8 any bytes; the fake decoder reads none"
JPEG = {"Content-Type": "image/jpeg"}


class FakeDecoders:
    """Every upload is a grey picture, except for bytes that begin with `bad`."""

    def __init__(self) -> None:
        self.restarts = 0
        self.seconds = 0.0
        self.seen: list[bytearray] = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def decode(self, data: bytearray, wait_seconds: float | None = None) -> Picture:
        self.seen.append(data)
        await asyncio.sleep(self.seconds)
        if data.startswith(b"bad"):
            raise BadPicture("image_undecodable", "These bytes are no picture.")
        return Picture(width=64, height=64, rgb=bytes(3 * 64 * 64))


@dataclasses.dataclass
class ServiceHarness:
    """One front and what stands behind it."""

    app: Litestar
    settings: Settings
    workers: SupervisedWorkers
    decoders: FakeDecoders
    metrics: Metrics
    fakes: list[FakeWorker]  # of in-process workers, in the order of their starts

    @property
    def front(self) -> Front:
        return self.app.state.front

    @property
    def cancelled(self) -> list[str]:
        return [job_id for fake in self.fakes for job_id in fake.cancels]

    def figure(self, name: str, **labels: str) -> float:
        return figure_of(self.metrics, name, **labels)


def build_service(
    *,
    script: Script | None = None,
    launcher: Launcher | None = None,
    policy: SupervisionPolicy = QUICK,
    num_workers: int = 1,
    decoders: Any = None,
    secrets: Secrets | None = None,
    tracer: Tracer | None = None,
    surfaces: Sequence[Surface] = SURFACES,
    **settings: Any,
) -> ServiceHarness:
    fakes: list[FakeWorker] = []

    def make_fake(setup: Setup, send: Callable[..., None]) -> FakeWorker:
        fakes.append(FakeWorker(setup, send, script))
        return fakes[-1]

    chosen = Settings(**settings)
    metrics = Metrics()
    workers = SupervisedWorkers(
        [Setup(device=f"fake:{number}") for number in range(num_workers)],
        launcher=launcher or partial(launch_thread, factory=make_fake),
        policy=policy,
        on_figures=metrics.add_figures,
        on_restart=metrics.count_restart,
    )
    decoders = decoders or FakeDecoders()
    app = create_app(chosen, workers, decoders, load_styles(), metrics, secrets, tracer, surfaces)
    return ServiceHarness(app=app, settings=chosen, workers=workers, decoders=decoders, metrics=metrics, fakes=fakes)


@contextlib.asynccontextmanager
async def client_of(service: ServiceHarness, *, warm: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the application directly; its lifespan runs around it."""
    async with service.app.lifespan():
        if warm:
            await asyncio.wait_for(service.workers.wait_ready(), 10)
        transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://front", timeout=20) as client:
            yield client


@contextlib.asynccontextmanager
async def listening(service: ServiceHarness, *, warm: bool = True) -> AsyncIterator[int]:
    """The front on a real port of this machine."""
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    server = make_server(service.app, service.settings, service.workers, port)
    serving = asyncio.create_task(server.serve([bound]))
    try:
        if warm:
            await asyncio.wait_for(service.workers.wait_ready(), 10)
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        await serving


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for something that happens on its own; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def post_request(query: str = "", body: bytes = SELFIE, accept: str = "application/json") -> bytes:
    """A whole HTTP/1.1 request, for tests that hold the socket themselves."""
    head = (
        f"POST /v1/portraits?{query} HTTP/1.1\r\nHost: front\r\nContent-Type: image/jpeg\r\n"
        f"Accept: {accept}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def parse_events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events as (name, data); checks that ids count from 1."""
    events: list[tuple[str, Any]] = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        if not lines:
            continue
        fields = dict(line.split(": ", 1) for line in lines)
        assert int(fields["id"]) == len(events) + 1
        events.append((fields["event"], msgspec.json.decode(fields["data"])))
    return events


def no_worker_threads() -> bool:
    return not any(thread.name == "worker" for thread in threading.enumerate())
