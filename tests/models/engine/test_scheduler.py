"""The policy alone: no tensors, rows are stand-ins with a key."""

from dataclasses import dataclass

import pytest

from models.engine.scheduler import Scheduler


@dataclass(eq=False)
class StandIn:
    key: str
    name: str = ""


def names(rows):
    return [row.name for row in rows]


def test_rows_join_in_order_of_arrival_up_to_the_limit():
    scheduler = Scheduler(max_rows=2)
    for name in "abc":
        scheduler.add(StandIn("k", name))
    assert names(scheduler.next_batch()) == ["a", "b"]
    assert (scheduler.num_running, scheduler.num_waiting) == (2, 1)


def test_a_freed_place_is_taken_at_the_next_tick():
    scheduler = Scheduler(max_rows=2)
    for name in "abc":
        scheduler.add(StandIn("k", name))
    scheduler.next_batch()
    scheduler.remove(lambda row: row.name == "a")
    assert names(scheduler.next_batch()) == ["b", "c"]


def test_keys_never_share_a_tick_and_take_turns():
    scheduler = Scheduler(max_rows=8)
    for key in "xyx":
        scheduler.add(StandIn(key, key))
    assert [names(scheduler.next_batch()) for _ in range(4)] == [["x", "x"], ["y"], ["x", "x"], ["y"]]


def test_a_rare_key_is_served_within_one_round_however_busy_the_others_are():
    scheduler = Scheduler(max_rows=1)
    for i in range(100):
        scheduler.add(StandIn("busy", str(i)))
        scheduler.add(StandIn("busier", str(i)))
    scheduler.next_batch()
    scheduler.add(StandIn("rare", "rare"))
    assert "rare" in [name for _ in range(3) for name in names(scheduler.next_batch())]


def test_removal_reaches_running_and_waiting_rows_and_forgets_empty_keys():
    scheduler = Scheduler(max_rows=1)
    rows = [StandIn("k", name) for name in "abc"]
    for row in rows:
        scheduler.add(row)
    scheduler.next_batch()
    assert names(scheduler.remove(lambda row: row.name in "ab")) == ["a", "b"]
    assert names(scheduler.remove(lambda row: True)) == ["c"]
    assert scheduler.next_batch() == []


def test_released_rows_make_room_and_an_empty_key_is_forgotten():
    scheduler = Scheduler(max_rows=2)
    for name in "abc":
        scheduler.add(StandIn("k", name))
    scheduler.add(StandIn("other", "d"))
    batch = scheduler.next_batch()
    scheduler.release(batch[:1])
    assert names(scheduler) == ["d", "b", "c"]
    scheduler.release(scheduler.next_batch())
    assert names(scheduler.next_batch()) == ["b", "c"]
    assert (scheduler.num_running, scheduler.num_waiting) == (2, 0)


def test_a_tick_s_decisions_do_not_look_at_those_who_wait():
    scheduler = Scheduler(max_rows=64)
    for i in range(64):
        scheduler.add(StandIn("k", str(i)))
    scheduler.next_batch()
    for _ in range(1000):
        scheduler.add(Untouchable("k"))
    scheduler.release(scheduler.next_batch()[:1])
    assert scheduler.num_waiting == 1000


class Untouchable:
    """A row whose key alone may be read."""

    def __init__(self, key):
        self.key = key

    def __getattr__(self, name):
        raise AssertionError(f"{name} of a waiting row was looked at")


def test_no_room_at_all_is_refused():
    with pytest.raises(ValueError, match="max_rows is 0"):
        Scheduler(max_rows=0)
