"""The waiting line: fair between callers, by weight; first come, first served within one caller.

Stride scheduling (Waldspurger and Weihl, 1995): each caller has a pass, the next turn is that of the lowest pass, and
a turn moves the pass on by cost / weight. Only turns that were given count, so a job that is cancelled in line costs
its caller nothing. Pure: no clock, no asyncio.
"""

import heapq
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.jobs.books import Books

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True, eq=False)
class Entry(Generic[T]):
    """One place in line. `may_go` is false while the item is being prepared: others pass it, its place stays."""

    item: T
    cost: float
    may_go: bool


@dataclass(slots=True)
class _Queue(Generic[T]):
    """One caller's entries."""

    weight: float
    passed: float
    entries: deque[Entry[T]] = field(default_factory=deque[Entry[T]])
    cost: float = 0.0  # of all entries

    def first(self) -> Entry[T] | None:
        """The first that may go. It seldom looks far: items are prepared in about the order in which they came."""
        return next((entry for entry in self.entries if entry.may_go), None)


class Line(Generic[T]):
    """Items in the order in which they shall go. Owns nothing but the order."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue[T]] = {}
        self._places: dict[T, tuple[str, Entry[T]]] = {}
        self._now = 0.0  # the pass of the last turn: who comes anew starts here and has saved up nothing

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item: T) -> bool:
        return item in self._places

    def add(self, item: T, *, caller_id: str, weight: float, cost: float, may_go: bool = True) -> None:
        queue = self._queues.get(caller_id)
        if queue is None:
            queue = self._queues[caller_id] = _Queue(weight, self._now)
        elif not queue.entries:
            queue.passed = max(queue.passed, self._now)
        queue.weight = weight  # a key's weight may have changed since
        entry = Entry(item, cost, may_go)
        queue.entries.append(entry)
        queue.cost += cost
        self._places[item] = (caller_id, entry)

    def let_go(self, item: T) -> None:
        """The item is prepared: from now on it may have its turn."""
        self._places[item][1].may_go = True

    def remove(self, item: T) -> bool:
        """Leave the line without a turn. False when it is not there."""
        if item not in self._places:
            return False
        caller_id, entry = self._places.pop(item)
        self._take_out(caller_id, entry)
        return True

    def pop(self) -> T | None:
        """Whose turn it is: the first of the caller with the lowest pass, of those who may go. None: nobody may."""
        firsts = ((queue.passed, caller_id, queue.first()) for caller_id, queue in self._queues.items())
        turns = [(passed, caller_id, first) for passed, caller_id, first in firsts if first is not None]
        if not turns:
            return None
        passed, caller_id, entry = min(turns, key=lambda turn: turn[:2])
        self._now = max(self._now, passed)
        queue = self._queues[caller_id]
        queue.passed = passed + entry.cost / queue.weight
        del self._places[entry.item]
        self._take_out(caller_id, entry)
        return entry.item

    def order(self) -> list[T]:
        """Everybody in line in the order of their turns, if nobody else came."""
        heap = [(queue.passed, caller_id, 0) for caller_id, queue in self._queues.items() if queue.entries]
        heapq.heapify(heap)
        order: list[T] = []
        while heap:
            passed, caller_id, index = heap[0]
            queue = self._queues[caller_id]
            entry = queue.entries[index]
            order.append(entry.item)
            if index + 1 < len(queue.entries):
                heapq.heapreplace(heap, (passed + entry.cost / queue.weight, caller_id, index + 1))
            else:
                heapq.heappop(heap)
        return order

    def ahead_of(self, caller_id: str, weight: float, *, newcomer_weight: float = 0.0) -> tuple[int, float]:
        """Jobs and cost that would go before a new item of this caller: a fluid estimate, off by a job per caller.

        What the caller has in line goes first, and others go beside it by their weights. `newcomer_weight` is for one
        caller more who might come and never run out of items.
        """
        own = self._queues.get(caller_id)
        num, cost = (len(own.entries), own.cost) if own is not None else (0, 0.0)
        per_weight = cost / weight
        cost += per_weight * newcomer_weight
        for other_id, other in self._queues.items():
            if other_id != caller_id and other.entries:
                beside = min(other.cost, per_weight * other.weight)
                cost += beside
                num += round(len(other.entries) * beside / other.cost) if other.cost else 0
        return num, cost

    @property
    def num_callers(self) -> int:
        """Callers that are remembered: those in line, and those whose turns still count."""
        return len(self._queues)

    def books(self) -> Books:
        queues = self._queues.values()
        return {
            "line_entries": (len(self._places), sum(len(queue.entries) for queue in queues)),
            "line_cost": (
                sum(queue.cost for queue in queues),
                sum(entry.cost for queue in queues for entry in queue.entries),
            ),
        }

    def _take_out(self, caller_id: str, entry: Entry[T]) -> None:
        queue = self._queues[caller_id]
        queue.entries.remove(entry)
        queue.cost -= entry.cost
        self._forget_idle()

    def _forget_idle(self) -> None:
        """Callers without an entry are forgotten once their pass counts no more: memory follows the line's length."""
        if not self._places:
            self._queues.clear()
            return
        for caller_id in [
            caller_id for caller_id, queue in self._queues.items() if not queue.entries and queue.passed <= self._now
        ]:
            del self._queues[caller_id]
