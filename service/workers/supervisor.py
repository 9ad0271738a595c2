"""Keeps one device's worker alive: start it, listen for its heartbeat, restart it, and know when to give up."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from models.wire.messages import FromWorker, Shutdown, ToWorker
from models.wire.order import Order
from models.wire.reports import Broken, Ready
from models.wire.setup import Setup
from service.workers.protocol import Launcher, Link, WorkerStatus

logger = logging.getLogger("proofsheet.worker")


class SupervisionPolicy(Struct, frozen=True, kw_only=True):
    """How long a worker may be silent, and how often it may die."""

    heartbeat_seconds: float = 20.0
    start_seconds: float = 600.0
    first_backoff_seconds: float = 1.0
    longest_backoff_seconds: float = 30.0
    max_crashes: int = 5
    crash_window_seconds: float = 600.0
    stop_seconds: float = 5.0  # for each of: after Shutdown, after SIGTERM


class Supervisor:
    """One worker's life over its restarts. Used from the event loop's thread only.

    `on_message` gets everything but Ready and Broken; `on_ready` and `on_lost` frame the time in which the worker
    may be given jobs; `on_give_up` is called once, with the reason, and the worker stays down.
    """

    def __init__(self, name: str, setup: Setup, launcher: Launcher, policy: SupervisionPolicy) -> None:
        self.name = name  # a stable label for metrics: two workers may share a device
        self.setup = setup
        self.state = "starting"
        self.restarts = 0
        self.ready: Ready | None = None  # while it is warm
        self.images_held = 0
        self.jobs_held = 0
        self._launcher = launcher
        self._policy = policy
        self._link: Link | None = None
        self._last_heard = 0.0
        self._broken: str | None = None
        self._crashes: deque[float] = deque()
        self._task: asyncio.Task[None] | None = None
        self.on_message: Callable[[Supervisor, FromWorker], None] = lambda _worker, _message: None
        self.on_ready: Callable[[Supervisor], None] = lambda _worker: None
        self.on_lost: Callable[[Supervisor], None] = lambda _worker: None
        self.on_restart: Callable[[Supervisor], None] = lambda _worker: None
        self.on_give_up: Callable[[Supervisor, str], None] = lambda _worker, _reason: None

    @property
    def device(self) -> str:
        return self.ready.device if self.ready is not None else self.setup.device

    def status(self) -> WorkerStatus:
        pid = self._link.pid if self._link is not None else None
        speed = self.ready.speed if self.ready else None
        return WorkerStatus(
            device=self.device, state=self.state, restarts=self.restarts, jobs=self.jobs_held, pid=pid, speed=speed
        )

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_alive())

    def send(self, message: ToWorker) -> None:
        if self._link is not None:
            self._link.send(message)

    def carry(self, order: Order) -> None:
        """Count and send one job."""
        self.jobs_held += 1
        self.images_held += len(order.seeds)
        self.send(order)

    def let_go(self, order: Order) -> None:
        """The mirror of `carry`: the job has left this worker, whatever its end."""
        self.jobs_held -= 1
        self.images_held -= len(order.seeds)
        assert self.jobs_held >= 0
        assert self.images_held >= 0

    async def stop(self) -> None:
        """Shutdown, then SIGTERM, then SIGKILL, each with its time. One that still loads hears no Shutdown."""
        is_loading, self.state, self.ready = self.ready is None, "stopped", None
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._link is None:
            return
        link, self._link = self._link, None
        link.send(Shutdown())
        if is_loading:
            link.terminate()
        for harder in (link.terminate, link.kill):
            done, _ = await asyncio.wait({link.closed}, timeout=self._policy.stop_seconds)
            if done:
                return
            harder()
        await asyncio.wait({link.closed}, timeout=self._policy.stop_seconds)

    async def _keep_alive(self) -> None:
        while True:
            reason = await self._live_once()
            was_ready = self.ready is not None
            self.ready, self._link, self.state = None, None, "restarting"
            self._crashes.append(asyncio.get_running_loop().time())
            if was_ready:
                self.on_lost(self)
            if self._is_hopeless():
                self.state = "failed"
                self.on_give_up(self, self._broken or f"{len(self._crashes)} crashes, the last: {reason}")
                return
            pause = self._backoff_seconds()
            logger.error("worker for %s is gone (%s); next start in %g s", self.setup.device, reason, pause)
            await asyncio.sleep(pause)
            self.restarts += 1
            self.on_restart(self)

    async def _live_once(self) -> str:
        """Start a worker and stay with it until it is gone; the reason it went."""
        self._broken = None
        self._last_heard = asyncio.get_running_loop().time()
        try:
            await self._launch()
        except OSError as error:
            return f"can't be started: {error.strerror}"
        assert self._link is not None
        while not self._link.closed.done():
            await asyncio.wait({self._link.closed}, timeout=self._policy.heartbeat_seconds / 4)
            silent = asyncio.get_running_loop().time() - self._last_heard
            if silent > self._silence_limit() and not self._link.closed.done():
                logger.error("worker for %s was silent for %.1f s: killed", self.setup.device, silent)
                self._link.kill()
                return f"silent for {silent:.1f} s; {await self._link.closed}"
        return self._link.closed.result()

    async def _launch(self) -> None:
        """Whoever stops us in the middle of a start still gets the link, to end what was started."""
        launching = asyncio.ensure_future(self._launcher(self.setup, self._hear))
        try:
            self._link = await asyncio.shield(launching)
        except asyncio.CancelledError:
            self._link = await launching
            raise

    def _hear(self, message: FromWorker) -> None:
        self._last_heard = asyncio.get_running_loop().time()
        if self.state == "stopped":
            return
        match message:
            case Ready():
                self.ready, self.state = message, "ready"
                self.on_ready(self)
            case Broken():
                self._broken = message.message
                logger.error("worker for %s can't start: %s", self.setup.device, message.message)
            case _:
                self.on_message(self, message)

    def _silence_limit(self) -> float:
        return self._policy.heartbeat_seconds if self.ready is not None else self._policy.start_seconds

    def _is_hopeless(self) -> bool:
        """A first start that says what is broken stays broken; otherwise it takes several crashes."""
        oldest = asyncio.get_running_loop().time() - self._policy.crash_window_seconds
        while self._crashes and self._crashes[0] < oldest:
            self._crashes.popleft()
        never_worked = self._broken is not None and self.restarts == 0
        return never_worked or len(self._crashes) >= self._policy.max_crashes

    def _backoff_seconds(self) -> float:
        pause = self._policy.first_backoff_seconds * 2 ** (len(self._crashes) - 1)
        return min(pause, self._policy.longest_backoff_seconds)
