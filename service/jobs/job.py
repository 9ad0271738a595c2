"""One accepted generation: its state, its events, who follows it, and its one end. `Jobs` runs it."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Literal, Protocol

from msgspec import Struct

from models.wire.events import Done, Failed, JobEvent, Portrait, Started, Stepped, Timings
from models.wire.groups import ImageFormat
from service.access.caller import Caller
from service.errors import JobCancelled, ServiceError
from service.jobs.log import Ended, EventLog, Logged, Queued
from service.jobs.options import JobOptions
from service.jobs.origin import Origin
from service.jobs.outlook import Outlook
from service.jobs.photos import HeldPhotos
from service.jobs.tokens import CallerTokens

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


class JobResult(Struct, frozen=True, kw_only=True):
    """A job's good end."""

    started: Started
    portraits: list[Portrait]  # in the order of their seeds
    timings: Timings


class JobRunner(Protocol):
    """What a job asks of whoever runs it."""

    def position(self, job: "Job") -> int:
        """Jobs before it in line, and itself."""
        ...

    def seconds_to_end(self, job: "Job") -> float | None:
        """The predicted time; None while nothing was measured yet."""
        ...

    def abort(self, job: "Job") -> None:
        """Let go of a job that was ended from outside."""
        ...


class Job:
    """Made and run by `Jobs`; everybody else reads, follows, attaches and cancels. Event loop's thread only.

    No other module assigns an attribute of a job: what is known at acceptance is in the constructor, and what comes
    later comes as an event or by a method. `created` is wall-clock time and only for people; all else is counted on
    the loop's monotonic clock.
    """

    def __init__(
        self,
        caller: Caller,
        summary: Summary,
        options: JobOptions,
        *,
        runner: JobRunner,
        outlook: Outlook,
        deadline_seconds: float,
        photos: HeldPhotos,
        tokens: CallerTokens,
        origin: Origin,
    ) -> None:
        self.id = secrets.token_hex(16)
        self.caller = caller
        self.summary = summary
        self.options = options
        self.origin = origin
        self.photos = photos
        self.tokens = tokens  # that the caller gets with the result
        self.predicted_seconds = outlook.expected_seconds  # from acceptance to the end, as it was said at acceptance
        self.deadline_seconds = deadline_seconds
        self.created = time.time()
        self.clock = asyncio.get_running_loop().time
        self.accepted_at = self.clock()
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.stopped_at: float | None = None  # when it was ended from outside, before its worker had let go
        self.state: JobState = "queued"
        self.is_prepared = False
        self.is_deleted = False
        self.error: ServiceError | None = None
        self.started: Started | None = None
        self.portraits: list[Portrait] = []
        self.last_step: Stepped | None = None
        self.timings: Timings | None = None
        self.log = EventLog()
        self.log.add(Queued(outlook.position, outlook.expected_seconds))
        self._runner = runner
        self._steps_made = 0
        self._num_followers = 0
        self._ends_with_followers = options.on_disconnect == "cancel"
        self._when_over: list[Callable[[], None]] = []
        self._when_dropped: list[Callable[[], None]] = []
        self._is_dropped = False
        self._moved = asyncio.Event()  # prepared, or ended before
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        return f"Job({self.id}, {self.state})"

    # ---- for everybody

    @property
    def has_ended(self) -> bool:
        return self.ended_at is not None

    @property
    def position(self) -> int:
        """Jobs before it in line and itself; 0 from its start on."""
        return self._runner.position(self) if self.state == "queued" else 0

    @property
    def eta_seconds(self) -> float | None:
        """Until the predicted end; None once it has ended, and while nothing was measured yet."""
        return None if self.has_ended else self._runner.seconds_to_end(self)

    @property
    def elapsed_seconds(self) -> float:
        """From acceptance to its end or to now."""
        return (self.ended_at if self.ended_at is not None else self.clock()) - self.accepted_at

    @property
    def share_done(self) -> float:
        """Of its steps, 0 to 1."""
        steps = self.started.sampling.steps if self.started is not None else self.summary.steps
        return min(self._steps_made / max(steps * self.summary.num_images, 1), 1.0)

    @property
    def total_ms(self) -> float:
        """As `elapsed_seconds`, and the upload before it."""
        return self.origin.stages.get("upload", 0.0) + self.elapsed_seconds * 1e3

    @property
    def seconds_left(self) -> float:
        """Until the deadline; negative after it."""
        return self.accepted_at + self.deadline_seconds - self.clock()

    @property
    def replay_key(self) -> tuple[str, str] | None:
        """Its caller's id and Idempotency-Key, if the request had one."""
        options = self.options
        if options.idempotency_key is None or options.fingerprint is None:
            return None
        return self.caller.id, options.idempotency_key

    @property
    def is_kept(self) -> bool:
        """Whether its result can be fetched for a while after the end."""
        return (self.options.keep or self.replay_key is not None) and not self.is_deleted

    def follow(self, after: int = 0) -> AsyncGenerator[Logged, None]:
        """The events with a greater id than `after`, as they come, up to the end."""
        return self.log.follow(after)

    async def prepared(self) -> None:
        """Wait until the photos were read and the job is on its way. Raises what refused them."""
        await self._moved.wait()
        if self.error is not None:
            raise self.error.again()

    async def finished(self) -> JobResult:
        """Wait for the end. Raises the job's ServiceError."""
        await self._over.wait()
        if self.error is not None:
            raise self.error.again()
        assert self.started is not None
        assert self.timings is not None
        return JobResult(started=self.started, portraits=self.portraits, timings=self.timings)

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
        if self._num_followers == 0 and self._ends_with_followers and not self.has_ended:
            self.stop(JobCancelled("client_left", "Everybody who waited for the job has left."))

    @contextlib.contextmanager
    def attached(self) -> Generator[None]:
        self.attach()
        try:
            yield
        finally:
            self.detach()

    def outlive_followers(self) -> None:
        """Let it run to its end, whoever leaves: its result is fetched later."""
        self._ends_with_followers = False

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call this once, at the job's end, whichever it is."""
        self._when_over.append(callback)

    def when_dropped(self, callback: Callable[[], None]) -> None:
        """Call this once, when the job can be found no more: now, if that is so already."""
        if self._is_dropped:
            callback()
        else:
            self._when_dropped.append(callback)

    # ---- for the runner

    def stop(self, error: ServiceError) -> bool:
        """End with an error from outside and abort the work. False when it had ended already."""
        if not self.end(error):
            return False
        self.stopped_at = self.ended_at
        self._runner.abort(self)
        return True

    def set_prepared(self) -> None:
        self.is_prepared = True
        self._moved.set()

    def drop_pictures(self) -> None:
        """Of a job that was cancelled: nobody is to get what was finished before."""
        self.portraits = []
        self.tokens.proofs.clear()
        self.log.drop_pictures()

    def set_deleted(self) -> None:
        self.is_deleted = True

    def set_dropped(self) -> None:
        """It has ended, and nothing is kept of it."""
        self._is_dropped = True
        for callback in self._when_dropped:
            callback()
        self._when_dropped.clear()

    def take(self, event: JobEvent) -> None:
        """One event of its worker's, other than Failed."""
        if self.has_ended:
            return
        event = self.tokens.take(event)
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
        self.tokens.forget()
        self._moved.set()
        self._over.set()
        for callback in self._when_over:
            callback()
        self._when_over.clear()
