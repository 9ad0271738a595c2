"""Chooses the rows of the next tick. Pure policy: no torch, no clock.

Rows of one key can share a tick; rows of different keys can't. Keys take turns, least recently served first, so a key
with work waits for at most one tick of each other key and never starves. Within a key, rows join in order of arrival as
soon as there is room and stay until they finish: a row is never preempted by a newer one of its key.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class HasKey(Protocol):
    """The part of a row that a policy reads."""

    @property
    def key(self) -> Hashable: ...


R = TypeVar("R", bound=HasKey)


@dataclass(slots=True)
class _Lane(Generic[R]):
    """All rows of one key."""

    running: list[R] = field(default_factory=list)
    waiting: deque[R] = field(default_factory=deque)

    @property
    def is_empty(self) -> bool:
        return not self.running and not self.waiting


class Scheduler(Generic[R]):
    """Owns the rows that run and the rows that wait. Not thread-safe: it belongs to the engine's thread."""

    def __init__(self, max_rows: int) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows is {max_rows}: at least 1 is needed")
        self.max_rows = max_rows
        self._lanes: OrderedDict[Hashable, _Lane[R]] = OrderedDict()  # the next turn first

    @property
    def num_running(self) -> int:
        return sum(len(lane.running) for lane in self._lanes.values())

    @property
    def num_waiting(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values())

    def add(self, row: R) -> None:
        self._lanes.setdefault(row.key, _Lane()).waiting.append(row)

    def next_batch(self) -> list[R]:
        """The rows of the key whose turn it is, newly joined ones included; empty when there is no work."""
        if not self._lanes:
            return []
        key = next(iter(self._lanes))
        self._lanes.move_to_end(key)
        lane = self._lanes[key]
        while lane.waiting and len(lane.running) < self.max_rows:
            lane.running.append(lane.waiting.popleft())
        return list(lane.running)

    def release(self, rows: Sequence[R]) -> None:
        """Remove rows of the batch just returned. Looks only at that batch."""
        if not rows:
            return
        key = rows[0].key
        lane = self._lanes[key]
        gone = {id(row) for row in rows}
        lane.running = [row for row in lane.running if id(row) not in gone]
        if lane.is_empty:
            del self._lanes[key]

    def remove(self, leaves: Callable[[R], bool]) -> list[R]:
        """Remove every row, running or waiting, that `leaves`. Looks at all rows, so it is for rare events."""
        left: list[R] = []
        for key, lane in list(self._lanes.items()):
            gone = [row for row in (*lane.running, *lane.waiting) if leaves(row)]
            if not gone:
                continue
            left += gone
            ids = {id(row) for row in gone}
            lane.running = [row for row in lane.running if id(row) not in ids]
            lane.waiting = deque(row for row in lane.waiting if id(row) not in ids)
            if lane.is_empty:
                del self._lanes[key]
        return left

    def __iter__(self) -> Iterator[R]:
        """Every row, running and waiting."""
        return (row for lane in self._lanes.values() for row in (*lane.running, *lane.waiting))

    def discrepancies(self) -> Iterator[str]:
        """Sentences about broken invariants; none if this class is right."""
        for lane in self._lanes.values():
            if lane.is_empty:
                yield "a key without rows is still there"
            if len(lane.running) > self.max_rows:
                yield f"{len(lane.running)} rows of a key run where {self.max_rows} may"
        if any(row.key != key for key, lane in self._lanes.items() for row in (*lane.running, *lane.waiting)):
            yield "a row is with those of another key"
