"""What one key may take: images by the minute and jobs at once. Only a key's own use counts against it.

The answer's fields follow draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` says what was promised,
`RateLimit` what is left: `r` units, and no more than those for `t` seconds.
"""

import math
import time
from collections.abc import Callable

from service.access.caller import Caller, Limits
from service.errors import BadRequest, QuotaExceeded

WINDOW_SECONDS = 60
NO_LIMITS = Limits()
FIRST_GUESS_SECONDS = 5.0  # of a job's time, before one has ended
ROUNDING = 1e-6  # who waits as long as we said must not be refused for a last bit
MEMORY = 0.2  # the newest job's share in the mean


class Bucket:
    """A token bucket: holds a minute's worth at most, refills evenly. Times are monotonic seconds."""

    def __init__(self, size: int, now: float) -> None:
        self.size = size
        self._left = float(size)
        self._time = now

    def left(self, now: float) -> float:
        return min(self._left + max(0.0, now - self._time) * self.size / WINDOW_SECONDS, self.size)

    def whole(self, now: float) -> int:
        return math.floor(self.left(now) + ROUNDING)

    def window_seconds(self, now: float) -> int:
        """How long there will be no more than `whole`, which for a full bucket is the time that one unit takes."""
        return max(1, math.ceil(self.seconds_until(self.whole(now) + 1, now) - ROUNDING))

    def seconds_until(self, wanted: float, now: float) -> float:
        return max(0.0, wanted - self.left(now)) * WINDOW_SECONDS / self.size

    def change(self, by: float, now: float) -> None:
        self._left = min(self.left(now) + by, self.size)
        self._time = now

    def resize(self, size: int, now: float) -> None:
        """The operator changed the quota: what is left stays, within the new size."""
        self._left, self._time, self.size = min(self.left(now), size), now, size


class Hold:
    """What one job took. Ends once, by `release` or `refund`; a second ending does nothing."""

    def __init__(self, account: "Account", images: int, started: float) -> None:
        self._account: Account | None = account
        self._images = images
        self.started = started

    def release(self) -> None:
        """The job ended, however it ended. Its images stay spent."""
        if self._account is not None:
            self._account.end(self)
            self._account = None

    def refund(self) -> None:
        """The job was refused after all: its images were never made."""
        if self._account is not None:
            self._account.end(self, images=self._images)
            self._account = None


class Account:
    """One key's use."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bucket: Bucket | None = None
        self._holds: set[Hold] = set()
        self._job_seconds = FIRST_GUESS_SECONDS

    def take(self, caller: Caller, images: int) -> Hold:
        now = self._clock()
        bucket = self._bucket_of(caller, now)
        self._check_jobs(caller.limits.jobs_in_flight, bucket, now)
        if bucket is not None:
            _check_images(bucket, images, now)
            bucket.change(-images, now)
        hold = Hold(self, images, now)
        self._holds.add(hold)
        return hold

    def end(self, hold: Hold, images: int = 0) -> None:
        """`images` are given back; a job that was never made says nothing about how long jobs take."""
        now = self._clock()
        self._holds.remove(hold)
        if not images:
            self._job_seconds += MEMORY * (now - hold.started - self._job_seconds)
        elif self._bucket is not None:
            self._bucket.change(images, now)

    def fields(self, caller: Caller) -> dict[str, str]:
        now = self._clock()
        policies: list[str] = []
        states: list[str] = []
        bucket = self._bucket_of(caller, now)
        if bucket is not None:
            policies.append(f'"images";q={bucket.size};qu="images";w={WINDOW_SECONDS}')
            states.append(f'"images";r={bucket.whole(now)};t={bucket.window_seconds(now)}')
        limit = caller.limits.jobs_in_flight
        if limit is not None:
            policies.append(f'"jobs";q={limit};qu="concurrent-requests"')
            states.append(f'"jobs";r={max(0, limit - len(self._holds))}')
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)} if policies else {}

    def _check_jobs(self, limit: int | None, bucket: Bucket | None, now: float) -> None:
        if limit is None or len(self._holds) < limit:
            return
        oldest = max(now - hold.started for hold in self._holds)
        window = bucket.window_seconds(now) if bucket is not None else 1  # the draft: not before the `t` beside it
        raise QuotaExceeded(
            "too_many_jobs",
            f"This API key may have {limit} jobs at once: wait until one has ended, or cancel one.",
            value=len(self._holds),
            limit=limit,
            retry_after_seconds=max(window, math.ceil(self._job_seconds - oldest)),
            extra={"violated-policies": ["jobs"]},
        )

    def _bucket_of(self, caller: Caller, now: float) -> Bucket | None:
        size = caller.limits.images_per_minute
        if size is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = Bucket(size, now)
        elif self._bucket.size != size:
            self._bucket.resize(size, now)
        return self._bucket


def _check_images(bucket: Bucket, images: int, now: float) -> None:
    if images > bucket.size:
        raise BadRequest(
            "n_over_quota",
            f"This API key may have {bucket.size} images a minute: ask for no more than that at once.",
            value=images,
            limit=bucket.size,
            extra={"field": "n"},
        )
    wait = bucket.seconds_until(images, now)
    if wait > ROUNDING:
        raise QuotaExceeded(
            "images_used_up",
            f"This API key may have {bucket.size} images a minute, and they are used up: "
            "try again after the time in Retry-After.",
            value=bucket.whole(now),
            limit=bucket.size,
            retry_after_seconds=math.ceil(wait),
            extra={"violated-policies": ["images"]},
        )


class Quotas:
    """Every key's account: as many as there were keys in use. Used from the event loop's thread only."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}

    def take(self, caller: Caller, images: int) -> Hold:
        """Take a job of `images` from the caller's quotas: both or neither. Raises QuotaExceeded or BadRequest."""
        return self._account(caller).take(caller, images)

    def fields(self, caller: Caller) -> dict[str, str]:
        """The RateLimit fields of an answer; empty for a caller without quotas."""
        return {} if caller.limits == NO_LIMITS else self._account(caller).fields(caller)

    def _account(self, caller: Caller) -> Account:
        if caller.key_id not in self._accounts:
            self._accounts[caller.key_id] = Account(self._clock)
        return self._accounts[caller.key_id]
