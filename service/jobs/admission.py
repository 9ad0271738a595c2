"""Who may come in: bounds in jobs, uploads and bytes, and an honest Retry-After. Nobody waits for a no."""

import math
from collections import deque
from statistics import fmean

from service.errors import NoCapacity

REMEMBERED_JOBS = 32
LONGEST_RETRY_SECONDS = 60
FIRST_GUESS_SECONDS = 5.0


class Places:
    """A counted bound. `take` and `give_back` are mirror images; used from the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    @property
    def is_full(self) -> bool:
        return self.taken >= self.limit

    def take(self) -> None:
        assert self.taken < self.limit
        self.taken += 1

    def give_back(self) -> None:
        assert self.taken > 0
        self.taken -= 1


class RecentDurations:
    """How long the last jobs took from accepted to ended, in seconds."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED_JOBS)

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def retry_after_seconds(self) -> int:
        """When a place may be free: the mean of the recent jobs, which holds their wait in the queue as well."""
        mean = fmean(self._seconds) if self._seconds else FIRST_GUESS_SECONDS
        return min(max(math.ceil(mean), 1), LONGEST_RETRY_SECONDS)


def full(places: Places, durations: RecentDurations) -> NoCapacity:
    return NoCapacity(
        "queue_full",
        "All places are taken; try again after the time in Retry-After.",
        value=places.taken,
        limit=places.limit,
        retry_after_seconds=durations.retry_after_seconds(),
    )
