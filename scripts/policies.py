"""Other ways than ours to choose the rows that run, with the interface of the engine's `Scheduler`."""

from collections.abc import Callable, Hashable, Iterator, Sequence, Sized
from typing import Generic, Protocol, TypeVar


class PlannedRow(Protocol):
    """What a policy looks at."""

    @property
    def key(self) -> Hashable: ...

    @property
    def plan(self) -> Sized: ...


R = TypeVar("R", bound=PlannedRow)


class RequestBatches(Generic[R]):
    """What servers do that batch whole requests: equal ones that wait run together, from first step to last.

    Whoever is first decides which; nobody joins a batch under way. With `max_rows` 1, one request after another.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self._running: list[R] = []
        self._waiting: list[R] = []

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, row: R) -> None:
        self._waiting.append(row)

    def next_batch(self) -> list[R]:
        if not self._running and self._waiting:
            first = _kind(self._waiting[0])
            self._running = [row for row in self._waiting if _kind(row) == first][: self.max_rows]
            taken = {id(row) for row in self._running}
            self._waiting = [row for row in self._waiting if id(row) not in taken]
        return list(self._running)

    def release(self, rows: Sequence[R]) -> None:
        gone = {id(row) for row in rows}
        self._running = [row for row in self._running if id(row) not in gone]

    def __iter__(self) -> Iterator[R]:
        return iter((*self._running, *self._waiting))

    def discrepancies(self) -> Iterator[str]:
        if len(self._running) > self.max_rows:
            yield f"{len(self._running)} rows run where {self.max_rows} may"

    def remove(self, leaves: Callable[[R], bool]) -> list[R]:
        left = [row for row in (*self._running, *self._waiting) if leaves(row)]
        self._running = [row for row in self._running if not leaves(row)]
        self._waiting = [row for row in self._waiting if not leaves(row)]
        return left


def _kind(row: PlannedRow) -> tuple[Hashable, int]:
    return row.key, len(row.plan)
