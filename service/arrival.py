"""How fast a body must come: a slow network is waited for, and a client that has stopped is not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds for the whole body, seconds that it may pause, and bytes a second on average, after one such pause."""

    total_seconds: float = 300.0
    pause_seconds: float = 15.0
    bytes_per_second: float = 4096.0


class Arrival:
    """One body on its way, by its reader's clock in seconds."""

    def __init__(self, pace: Pace, now: float) -> None:
        self._pace = pace
        self._started = self._last = now
        self._num_bytes = 0

    def add(self, num_bytes: int, now: float) -> None:
        self._num_bytes += num_bytes
        self._last = now

    @property
    def late_at(self) -> float:
        """When a limit is passed, if nothing more comes."""
        return min(self._late_at)

    @property
    def lateness(self) -> tuple[float, str]:
        """The first limit that is passed then, and a sentence about it."""
        pace, late_at = self._pace, self._late_at
        told = (
            (pace.total_seconds, f"The body did not arrive within {pace.total_seconds:g} s."),
            (pace.pause_seconds, f"Nothing more of the body came for {pace.pause_seconds:g} s."),
            (pace.bytes_per_second, f"The body came at less than {pace.bytes_per_second:g} bytes a second."),
        )
        return told[late_at.index(min(late_at))]

    @property
    def _late_at(self) -> tuple[float, float, float]:
        """For the whole, for a pause, and for the rate."""
        pace, started = self._pace, self._started
        by_rate = started + pace.pause_seconds + self._num_bytes / pace.bytes_per_second
        return started + pace.total_seconds, self._last + pace.pause_seconds, by_rate
