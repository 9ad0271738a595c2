"""One accepted generation: its state, its events, who follows it, and its one end. `Jobs` runs it."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import Literal

from msgspec import Struct

from models.wire.events import Done, Failed, JobEvent, Portrait, Started, Stepped, Timings
from models.wire.groups import ImageFormat
from service.access.caller import Caller
from service.errors import JobCancelled, ServiceError
from service.jobs.log import Ended, EventLog, Logged, Queued
from service.jobs.terms import Terms
from service.jobs.tokens import Keepsakes
from service.memory import wipe

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class Summary(Struct, frozen=True, kw_only=True):
    """What is asked for, with every default filled in: for answers and for admission. Holds no prompt."""

    model: str
    style: str | None  # None: a prompt of the caller's own
    adapter: str
    seeds: list[int]
    width: int
    height: int
    steps: int
    format: ImageFormat
    cost: float  # images x steps, of the default size and without guidance
    is_final: bool = False

    @property
    def num_images(self) -> int:
        return len(self.seeds)


class Finished(Struct, frozen=True, kw_only=True):
    """A job's good end."""

    started: Started
    portraits: list[Portrait]  # in the order of their seeds
    timings: Timings


class Job:
    """Made and run by `Jobs`; everybody else reads, follows, attaches and cancels. Event loop's thread only.

    `created` is wall-clock time and only for people; all else is counted on the loop's monotonic clock.
    """

    def __init__(
        self,
        caller: Caller,
        summary: Summary,
        terms: Terms,
        *,
        deadline_seconds: float,
        photos: Sequence[bytearray] = (),
    ) -> None:
        self.id = secrets.token_hex(16)
        self.caller = caller
        self.summary = summary
        self.keep = terms.keep
        self.on_disconnect = terms.on_disconnect
        self.deadline_seconds = deadline_seconds
        self.photos = photos  # as they came, until a worker is given their pixels
        self.num_bytes = sum(map(len, photos))  # that it holds of photos: as they came, then as pixels
        self.created = time.time()
        self.clock = asyncio.get_running_loop().time
        self.accepted_at = self.clock()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.state: JobState = "queued"
        self.error: ServiceError | None = None
        self.started: Started | None = None
        self.portraits: list[Portrait] = []
        self.last_step: Stepped | None = None
        self.timings: Timings | None = None
        self.front_ms: dict[str, float] = {}  # the front's own stages, by their names in Server-Timing
        self.keepsakes = Keepsakes()  # what the caller keeps; set before the job's first event
        self.log = EventLog()
        self.predicted_seconds: float | None = None  # from acceptance to the end, as it was said at acceptance
        self.stopped_at: float | None = None  # when it was ended from outside, before its worker had let go
        self._steps_made = 0
        self.replay_key: tuple[str, str] | None = None  # its caller's id and Idempotency-Key
        self.fingerprint: bytes | None = None  # of the request, where it has such a key
        self.is_prepared = False
        self.traceparent: str | None = None  # of the request that asked for it
        self._when_over: list[Callable[[], None]] = []
        self._num_followers = 0
        self._moved = asyncio.Event()  # prepared, or ended before
        self._over = asyncio.Event()
        # Set by the desk, which knows the line and the clock's predictions, and owns the task; gone after the end.
        self.place_in_line: Callable[[], int] = lambda: 1
        self.predict: Callable[[], float | None] = lambda: None
        self.abort: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"Job({self.id}, {self.state})"

    # ---- for everybody

    @property
    def has_ended(self) -> bool:
        return self.ended_at is not None

    @property
    def position(self) -> int:
        """Jobs before it in line and itself; 0 from its start on."""
        return self.place_in_line() if self.state == "queued" else 0

    @property
    def eta_seconds(self) -> float | None:
        """Until the predicted end; None once it has ended, and while nothing was measured yet."""
        return None if self.has_ended else self.predict()

    @property
    def elapsed_seconds(self) -> float:
        """From acceptance to its end or to now."""
        return (self.ended_at if self.ended_at is not None else self.clock()) - self.accepted_at

    @property
    def share_done(self) -> float:
        """Of its steps, 0 to 1."""
        steps = self.started.steps if self.started is not None else self.summary.steps
        return min(self._steps_made / max(steps * self.summary.num_images, 1), 1.0)

    @property
    def total_ms(self) -> float:
        """As `elapsed_seconds`, and the upload before it."""
        return self.front_ms.get("upload", 0.0) + self.elapsed_seconds * 1e3

    @property
    def seconds_left(self) -> float:
        """Until the deadline; negative after it."""
        return self.accepted_at + self.deadline_seconds - self.clock()

    def follow(self, after: int = 0) -> AsyncGenerator[Logged, None]:
        """The events with a greater id than `after`, as they come, up to the end."""
        return self.log.follow(after)

    async def prepared(self) -> None:
        """Wait until the photos were read and the job is on its way. Raises what refused them."""
        await self._moved.wait()
        if self.error is not None:
            raise self.error.again()

    async def finished(self) -> Finished:
        """Wait for the end. Raises the job's ServiceError."""
        await self._over.wait()
        if self.error is not None:
            raise self.error.again()
        assert self.started is not None
        assert self.timings is not None
        return Finished(started=self.started, portraits=self.portraits, timings=self.timings)

    def cancel(self, reason: str = "The job was cancelled.") -> bool:
        """End it and free its rows at the next step; False when it had ended already. `reason` is a sentence."""
        return self.stop(JobCancelled("cancelled", reason))

    def attach(self) -> None:
        """Somebody waits for this job. Whoever attached detaches."""
        self._num_followers += 1

    def detach(self) -> None:
        """Somebody waits no more. The last one takes the job along, unless it is to be finished for later."""
        assert self._num_followers > 0
        self._num_followers -= 1
        if self._num_followers == 0 and self.on_disconnect == "cancel" and not self.has_ended:
            self.stop(JobCancelled("client_left", "Everybody who waited for the job has left."))

    @contextlib.contextmanager
    def attached(self) -> Generator[None]:
        self.attach()
        try:
            yield
        finally:
            self.detach()

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call this once, at the job's end, whichever it is."""
        self._when_over.append(callback)

    # ---- for the desk that runs it

    def stop(self, error: ServiceError) -> bool:
        """End with an error from outside and abort the work. False when it had ended already."""
        if not self.end(error):
            return False
        self.stopped_at = self.ended_at
        self.abort()
        return True

    def queue(self, position: int, eta_seconds: float | None) -> None:
        """The first event: the job has its place."""
        self.predicted_seconds = eta_seconds
        self.log.add(Queued(position, eta_seconds))

    def forget_photos(self) -> None:
        wipe(self.photos)
        self.photos = ()

    def untie(self) -> None:
        """From the desk, after the end. What the desk has set leads back to the job: in such a ring its pictures would
        stay until a garbage collector comes by."""
        del self.place_in_line, self.predict, self.abort

    def set_prepared(self) -> None:
        self.is_prepared = True
        self._moved.set()

    def take(self, event: JobEvent) -> None:
        """One event of its worker's, other than Failed."""
        if self.has_ended:
            return
        event = self.keepsakes.take(event)
        match event:
            case Started():
                self.started, self.started_at, self.state = event, self.clock(), "running"
            case Portrait():
                self.portraits.append(event)
                self.portraits.sort(key=lambda portrait: portrait.index)
            case Done():
                self.timings = event.timings
                self._close("succeeded")
            case Stepped():
                self.last_step = event
                self._steps_made += 1
            case Failed():
                raise AssertionError("a Failed is an error before it gets here")
        self.log.add(event)

    def end(self, error: ServiceError) -> bool:
        """The one bad end; the good one is Done. False when it had ended already."""
        if self.has_ended:
            return False
        self.error = error.again()
        self._close("cancelled" if isinstance(error, JobCancelled) else "failed")
        self.log.add(Ended(self.error))
        return True

    def _close(self, state: JobState) -> None:
        self.state, self.ended_at = state, self.clock()
        self.keepsakes.forget()
        self._moved.set()
        self._over.set()
        for callback in self._when_over:
            callback()
        self._when_over.clear()
