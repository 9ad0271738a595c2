"""Who may come in: bounds in jobs, shares, uploads and bytes, and a deadline that can be met. Nobody waits for a no.

Every refusal says when to try again, and what the line looks like: it is 503, for the capacity is ours. Quotas, which
are the caller's, are 429 and live in service/access.
"""

import math
from collections import deque
from collections.abc import Iterable
from statistics import fmean

from service.access.caller import ANONYMOUS, Caller
from service.errors import NoCapacity
from service.jobs.job import Job
from service.jobs.outlook import Outlook
from service.jobs.places import Places

REMEMBERED_JOBS = 32
LONGEST_RETRY_SECONDS = 60
FIRST_GUESS_SECONDS = 5.0
NEWCOMER_WEIGHT = 1.0  # of the one caller more for whom there is always room


class RecentDurations:
    """How long the last jobs took from accepted to ended, in seconds."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=REMEMBERED_JOBS)

    def add(self, seconds: float) -> None:
        self._seconds.append(seconds)

    def retry_after_seconds(self) -> int:
        """When a place may be free: the mean of the recent jobs, which holds their wait in the queue as well."""
        return retry_after(fmean(self._seconds) if self._seconds else FIRST_GUESS_SECONDS)


def newcomer_weight(caller: Caller) -> float:
    """Where there are keys, room is kept for one caller more; without them everybody is one caller."""
    return 0.0 if caller.id == ANONYMOUS.id else NEWCOMER_WEIGHT


def share_of(caller: Caller, jobs: Iterable[Job], limit: int) -> int:
    """How many of `limit` places this caller may hold: by weight, among those who hold some and one newcomer."""
    weights = {job.caller.id: job.caller.weight for job in jobs} | {caller.id: caller.weight}
    return max(1, int(limit * caller.weight / (sum(weights.values()) + newcomer_weight(caller))))


def retry_after(seconds: float) -> int:
    return min(max(math.ceil(seconds), 1), LONGEST_RETRY_SECONDS)


def queue_full(places: Places, outlook: Outlook, retry_after_seconds: int) -> NoCapacity:
    return NoCapacity(
        "queue_full",
        "All places are taken; try again after the time in Retry-After.",
        value=places.taken,
        limit=places.limit,
        retry_after_seconds=retry_after_seconds,
        extra=outlook.in_words(),
    )


def share_full(share: int, outlook: Outlook, retry_after_seconds: int) -> NoCapacity:
    return NoCapacity(
        "share_full",
        "Your share of the places is taken, the others are for other callers; try again after the time in Retry-After.",
        value=share,
        limit=share,
        retry_after_seconds=retry_after_seconds,
        extra=outlook.in_words(),
    )


def too_many_bytes(held: Places, outlook: Outlook, retry_after_seconds: int) -> NoCapacity:
    return NoCapacity(
        "queue_bytes_full",
        "The photos of the jobs in line fill the memory that is set aside for them; "
        "try again after the time in Retry-After.",
        value=held.taken,
        limit=held.limit,
        retry_after_seconds=retry_after_seconds,
        extra=outlook.in_words(),
    )


def too_late(outlook: Outlook, seconds: float, deadline_seconds: float) -> NoCapacity:
    return NoCapacity(
        "deadline_unreachable",
        f"The portraits would be finished in about {seconds:.1f} s, and the deadline is {deadline_seconds:g} s: "
        "try again after the time in Retry-After, or give more time.",
        value=round(seconds, 2),
        limit=deadline_seconds,
        retry_after_seconds=retry_after(seconds - deadline_seconds),
        extra=outlook.in_words(),
    )
