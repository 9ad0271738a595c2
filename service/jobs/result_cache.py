"""What may still be fetched after its job's end: for a stated time, within a bound in bytes, in memory only."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from service.jobs.books import Books

T = TypeVar("T")


class KeptResult(Struct, Generic[T], frozen=True):
    value: T
    num_bytes: int
    timer: asyncio.TimerHandle


class ResultCache(Generic[T]):
    """Results by a text that names them, in the order of their ends. Used from the event loop's thread only."""

    def __init__(self, *, seconds: float, max_bytes: int, on_drop: Callable[[T], object] = lambda _: None) -> None:
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._on_drop = on_drop
        self._entries: dict[str, KeptResult[T]] = {}

    def __iter__(self) -> Iterator[T]:
        return (entry.value for entry in self._entries.values())

    def find(self, name: str) -> T | None:
        entry = self._entries.get(name)
        return None if entry is None else entry.value

    def put(self, name: str, value: T, num_bytes: int) -> None:
        """Keep a result; one of that name makes way. When there is no room, the oldest go before their time."""
        self.drop(name)
        timer = asyncio.get_running_loop().call_later(self.seconds, self.drop, name)
        self._entries[name] = KeptResult(value, num_bytes, timer)
        self.num_bytes += num_bytes
        while self.num_bytes > self.max_bytes:
            self.drop(next(iter(self._entries)))

    def drop(self, name: str) -> None:
        """Let go of it now. Does nothing for one that is gone."""
        entry = self._entries.pop(name, None)
        if entry is not None:
            entry.timer.cancel()
            self.num_bytes -= entry.num_bytes
            self._on_drop(entry.value)

    def books(self) -> Books:
        return {"result_bytes": (self.num_bytes, sum(entry.num_bytes for entry in self._entries.values()))}

    def clear(self) -> None:
        for name in list(self._entries):
            self.drop(name)
