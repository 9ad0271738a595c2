"""When a job would be finished, from what jobs took lately and from what is ahead of it.

Costs are in image-steps (a job's images times its steps, larger and guided ones count for more). Times are seconds.
Pure arithmetic over a clock that is given.

A job that meets nobody takes its overhead (photos, identity, decoding, encoding) and its steps. Behind others it waits
until they are worked off at the rate that was measured while there was a line. What that leaves out, the errors
of the last predictions bring in: their 90th percentile is the margin that admission adds.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from models.wire.events import Timings

REMEMBERED = 32  # jobs and errors
SERVICE_SECONDS = 300.0  # how old the quickest job may be that still refuses others while the service is idle
ERROR_SECONDS = 60.0  # how long a wrong prediction makes us careful: a worker's restart is over by then
MEMORY = 0.97  # of an image in the rate: about the last thirty
SAME_TICK_SECONDS = 0.02
ENOUGH_IMAGES = 4.0
ENOUGH_SECONDS = 0.05
MARGIN_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class _Measured:
    """One finished job, or the mean of some."""

    at: float
    overhead: float  # seconds that don't depend on its steps
    step: float  # seconds for one unit of cost of one image, beside the others in its batch
    images: float  # that the workers had at its end: about how many shared its batch

    def seconds(self, cost_each: float) -> float:
        return self.overhead + self.step * cost_each


class Forecast:
    """Used from the event loop's thread only."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.num_rows = 1  # of all workers
        self._clock = clock
        self._jobs: deque[_Measured] = deque(maxlen=REMEMBERED)
        self._usual: _Measured | None = None  # their mean; asked several times for each request
        self._errors: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)  # when, late by
        self._busy_at: float | None = None  # the last moment of which we know that there was a line
        self._idle_at: float | None = None  # when the line ended; what is finished with the same tick still counts
        self._work = 0.0  # cost worked off while there was a line, the older the less
        self._work_images = 0.0
        self._work_seconds = 0.0

    # ---- what is measured

    def note_line(self, is_busy: bool) -> None:
        """There is a line from now on, or no longer."""
        if is_busy and self._busy_at is None:
            self._busy_at = self._clock()
        if not is_busy and self._busy_at is not None and self._idle_at is None:
            self._idle_at = self._clock()
        if is_busy:
            self._idle_at = None

    def note_image(self, cost: float) -> None:
        """A finished image; it counts for the rate while there is a line."""
        now = self._clock()
        if self._idle_at is not None and now - self._idle_at > SAME_TICK_SECONDS:
            self._busy_at = self._idle_at = None
        if self._busy_at is None:
            return
        self._work = self._work * MEMORY + cost
        self._work_images = self._work_images * MEMORY + 1
        self._work_seconds = self._work_seconds * MEMORY + (now - self._busy_at)
        self._busy_at = now

    def note_job(self, cost_each: float, timings: Timings, images_running: int) -> None:
        """A finished job of images that cost `cost_each`."""
        overhead = max(timings.total_ms - timings.queue_ms - timings.steps_ms, 0.0) / 1e3
        step = timings.steps_ms / 1e3 / cost_each if cost_each else 0.0
        self._jobs.append(_Measured(self._clock(), overhead, step, max(images_running, 1)))
        self._usual = _mean(self._jobs)

    def note_error(self, predicted: float, actual: float) -> None:
        self._errors.append((self._clock(), actual - predicted))

    # ---- what it says

    def service_seconds(self, cost_each: float) -> float | None:
        """From a turn at once to the end; None before anything was measured."""
        return self._usual.seconds(cost_each) if self._usual is not None else None

    def quickest_seconds(self, cost_each: float) -> float:
        """The best that was seen of late; 0 if nothing was, so that a first job is always tried."""
        fresh = self._clock() - SERVICE_SECONDS
        return min((job.seconds(cost_each) for job in self._jobs if job.at >= fresh), default=0.0)

    def finish_seconds(self, cost_each: float, ahead: float) -> float | None:
        """From now to the end, behind a cost of `ahead`; None before anything was measured.

        Rows leave one by one and make room for the next, so a job joins when all that is ahead has been worked off but
        for what runs beside it: on average, rows that are half through.
        """
        if self._usual is None:
            return None
        service = self._usual.seconds(cost_each)
        if ahead <= 0:
            return service
        half = self._usual.step * cost_each / 2
        return max(service, service - half + ahead / self._rate(self._usual))

    def _rate(self, usual: _Measured) -> float:
        """Cost that is worked off in a second while there is a line.

        Before there was a line, what a full batch can do is a guess between one row's work and all rows' at once.
        """
        if self._work_images >= ENOUGH_IMAGES and self._work_seconds >= ENOUGH_SECONDS:
            return self._work / self._work_seconds
        rows = max(usual.images, math.sqrt(self.num_rows))
        return rows / usual.step if usual.step > 0 else math.inf

    def margin_seconds(self) -> float:
        """By how much nearly every recent job was late at most; never negative."""
        fresh = self._clock() - ERROR_SECONDS
        while self._errors and self._errors[0][0] < fresh:
            self._errors.popleft()
        errors = sorted([error for _, error in self._errors])
        return max(errors[math.ceil(MARGIN_SHARE * len(errors)) - 1], 0.0) if errors else 0.0


def _mean(jobs: Sequence[_Measured]) -> _Measured:
    return _Measured(
        at=jobs[-1].at,
        overhead=fmean([job.overhead for job in jobs]),
        step=fmean([job.step for job in jobs]),
        images=fmean([job.images for job in jobs]),
    )
