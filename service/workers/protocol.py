"""What the front asks of its workers, and what a started worker looks like from here.

`Workers` is the seam that the HTTP side is written against. `Link` is one live connection to one worker, a process
or a thread; a `Launcher` makes one.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from models.wire.events import JobEvent
from models.wire.messages import FromWorker, ToWorker
from models.wire.order import Order
from models.wire.reports import Figures, Ready, SpeedInfo
from models.wire.setup import Setup


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """One worker as the health page shows it. `state` is starting, ready, restarting, failed or stopped.

    `speed` is how its networks are made fast; null until it is ready.
    """

    device: str
    state: str
    restarts: int
    jobs: int
    pid: int | None
    speed: SpeedInfo | None = None


class Workers(Protocol):
    """All workers of this front. Used from the event loop's thread only."""

    @property
    def ready(self) -> bool:
        """Whether a job sent now would find a warm worker."""
        ...

    async def start(self) -> None:
        """Start every worker and return at once; `wait_ready` tells when the first one is warm."""
        ...

    async def stop(self) -> None:
        """End every worker, politely first. Held jobs fail as `worker_stopping`."""
        ...

    async def wait_ready(self) -> None: ...

    async def gave_up(self) -> str:
        """Return only when a worker can't be kept alive, with the reason: the service should exit."""
        ...

    def describe(self) -> list[Ready]:
        """What the warm workers said of themselves."""
        ...

    def status(self) -> list[WorkerStatus]: ...

    def submit(self, order: Order) -> AsyncGenerator[JobEvent, None]:
        """Send a job to the least loaded worker; its events end with one Done or Failed, within its deadline.

        A job accepted while a worker was warm is not refused because it died since: it waits for the next. Closing
        the generator early cancels the job, and returns when its worker has dropped its rows.
        """
        ...


class Link(Protocol):
    """One started worker. `closed` ends with a short reason when it is gone, and never raises."""

    pid: int | None
    closed: asyncio.Future[str]

    def send(self, message: ToWorker) -> None: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Launcher(Protocol):
    """Starts a worker with this setup. Every message it sends is given to `on_message` in the loop's thread."""

    def __call__(self, setup: Setup, on_message: Callable[[FromWorker], None], /) -> Awaitable[Link]: ...


OnFigures = Callable[[str, Figures], None]  # by the worker's number
OnRestart = Callable[[str], None]
