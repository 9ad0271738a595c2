"""What has happened to a job, numbered, for everybody who follows it: now, later, or again from where they stopped."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from models.wire.events import Done, Portrait, Started, Stepped
from service.errors import ServiceError

MAX_STEPS = 256  # progress kept for those who come late; portraits and ends are always kept


@dataclass(frozen=True, slots=True)
class Queued:
    """The job is accepted. `position` counts the jobs before it in line and itself."""

    position: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The job's bad end: it failed, was cancelled, or its deadline passed."""

    error: ServiceError


JobNews = Queued | Started | Stepped | Portrait | Done | Ended


class Logged(NamedTuple):
    """Ids count from 1 in the order of the events; they have gaps where old progress was dropped."""

    id: int
    event: JobNews


class EventLog:
    """One job's events. Appended by its job, read by any number of followers, all in the event loop's thread."""

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self.num_bytes = 0  # of pictures and previews
        self.is_closed = False
        self._entries: list[Logged] = []
        self._last_id = 0
        self._max_steps = max_steps
        self._num_steps = 0
        self._news = asyncio.Event()

    def add(self, event: JobNews) -> None:
        assert not self.is_closed
        self._last_id += 1
        self._entries.append(Logged(self._last_id, event))
        self.num_bytes += _num_bytes(event)
        if isinstance(event, Stepped):
            self._num_steps += 1
            if self._num_steps > self._max_steps:
                self._drop_oldest_step()
        self.is_closed = isinstance(event, Done | Ended)
        self._tell()

    def __iter__(self) -> Iterator[Logged]:
        """All that is kept of what has happened so far."""
        return iter(self._entries)

    def is_over(self, after: int) -> bool:
        """Whether the job has ended, and nothing has a greater id than `after`."""
        return self.is_closed and after >= self._last_id

    def drop_pictures(self) -> None:
        """Leave gaps where portraits and previews were."""
        self._entries = [entry for entry in self._entries if not _num_bytes(entry.event)]
        self._num_steps = sum(isinstance(entry.event, Stepped) for entry in self._entries)
        self.num_bytes = 0

    async def follow(self, after: int = 0) -> AsyncGenerator[Logged, None]:
        """Every event with a greater id than `after`, as they come; it ends after the job's end."""
        while True:
            for entry in self._since(after):
                after = entry.id
                yield entry
            if after < self._last_id:
                continue  # more came while the follower was busy
            if self.is_closed:
                return
            await self._news.wait()

    def _since(self, after: int) -> list[Logged]:
        return self._entries[bisect_right(self._entries, after, key=lambda entry: entry.id) :]

    def _drop_oldest_step(self) -> None:
        oldest = next(entry for entry in self._entries if isinstance(entry.event, Stepped))
        self._entries.remove(oldest)
        self._num_steps -= 1
        self.num_bytes -= _num_bytes(oldest.event)

    def _tell(self) -> None:
        """Wake everybody who waits; who comes later waits for the next event."""
        self._news.set()
        self._news = asyncio.Event()


def _num_bytes(event: JobNews) -> int:
    match event:
        case Portrait():
            return len(event.data)
        case Stepped():
            return len(event.preview or b"")
        case _:
            return 0
