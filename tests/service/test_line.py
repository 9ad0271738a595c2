"""The waiting line: whose turn it is."""

import random
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from service.jobs.line import Line


def line_of(**queues):
    """`alice=(weight, [costs])`; items are called alice0, alice1, ..."""
    line = Line()
    for name, (weight, costs) in queues.items():
        for index, cost in enumerate(costs):
            line.add(f"{name}{index}", caller_id=name, weight=weight, cost=cost)
    return line


def drained(line):
    items = []
    while (item := line.pop()) is not None:
        items.append(item)
    return items


def test_one_caller_is_served_in_the_order_of_arrival():
    assert drained(line_of(alice=(1, [5, 1, 3]))) == ["alice0", "alice1", "alice2"]


def test_one_callers_burst_never_starves_another():
    line = line_of(alice=(1, [4] * 100))
    assert [line.pop() for _ in range(10)] == [f"alice{index}" for index in range(10)]
    line.add("bob0", caller_id="bob", weight=1, cost=4)
    assert line.pop() == "bob0"


def test_shares_follow_the_weights():
    line = line_of(alice=(3, [4] * 60), bob=(1, [4] * 60))
    first = Counter(line.pop()[:-1].rstrip("0123456789") for _ in range(40))
    assert first == {"alice": 30, "bob": 10}


def test_a_share_is_of_the_work_and_not_of_the_jobs():
    line = line_of(alice=(1, [8] * 20), bob=(1, [2] * 80))
    first = Counter(line.pop().rstrip("0123456789") for _ in range(50))
    assert (first["alice"], first["bob"]) == (10, 40)


def test_a_caller_who_was_away_has_saved_up_nothing():
    line = line_of(alice=(1, [4] * 50))
    line.add("bob0", caller_id="bob", weight=1, cost=4)
    [line.pop() for _ in range(20)]
    for index in range(1, 20):
        line.add(f"bob{index}", caller_id="bob", weight=1, cost=4)
    next_ten = Counter(line.pop().rstrip("0123456789") for _ in range(10))
    assert next_ten == {"alice": 5, "bob": 5}


def test_a_job_that_is_cancelled_in_line_costs_its_caller_nothing():
    line = line_of(alice=(1, [100, 4]), bob=(1, [4, 4]))
    line.remove("alice0")
    assert drained(line) == ["alice1", "bob0", "bob1"]


def test_removing_one_touches_no_other():
    line = line_of(alice=(1, [4] * 3), bob=(1, [4] * 3))
    assert line.remove("alice1")
    assert not line.remove("alice1")
    assert drained(line) == ["alice0", "bob0", "alice2", "bob1", "bob2"]


def test_what_is_not_prepared_is_passed_and_keeps_its_place():
    line = Line()
    line.add("slow", caller_id="alice", weight=1, cost=4, may_go=False)
    line.add("quick", caller_id="alice", weight=1, cost=4)
    line.add("last", caller_id="alice", weight=1, cost=4)
    assert line.pop() == "quick"
    line.let_go("slow")
    assert drained(line) == ["slow", "last"]


def test_nobody_ready_is_nobody_called():
    line = Line()
    line.add("slow", caller_id="alice", weight=1, cost=4, may_go=False)
    assert line.pop() is None
    assert len(line) == 1


def test_ahead_counts_others_only_as_far_as_they_go_beside_us():
    line = line_of(alice=(1, [4] * 10), bob=(1, [4] * 2))
    assert line.ahead_of("alice", 1) == (12, 48)
    assert line.ahead_of("bob", 1) == (4, 16)
    assert line.ahead_of("carol", 1) == (0, 0)


def test_ahead_keeps_room_for_a_newcomer():
    line = line_of(alice=(2, [4] * 10))
    assert line.ahead_of("alice", 2, newcomer_weight=1)[1] == 40 + 20


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcd"), st.integers(1, 40)),
        st.tuples(st.just("pop"), st.just(""), st.just(0)),
        st.tuples(st.just("remove"), st.just(""), st.integers(0, 99)),
    ),
    max_size=80,
)
WEIGHTS = {"a": 1.0, "b": 2.0, "c": 0.5, "d": 1.0}


@settings(max_examples=200, deadline=None)
@given(ACTIONS)
def test_nothing_is_lost_or_served_twice_and_the_foretold_order_is_the_order(actions):
    line, inside, out = Line(), [], []
    for number, (action, caller, value) in enumerate(actions):
        if action == "add":
            line.add(number, caller_id=caller, weight=WEIGHTS[caller], cost=value)
            inside.append(number)
        elif action == "remove" and inside:
            assert line.remove(inside.pop(value % len(inside)))
        elif action == "pop":
            expected = line.order()[:1]
            item = line.pop()
            assert [item] == expected if expected else item is None
            if item is not None:
                inside.remove(item)
                out.append(item)
        assert len(line) == len(inside)
        assert sorted(line.order()) == sorted(inside)
    rest = drained(line)
    assert sorted(rest) == sorted(inside)
    assert not set(rest) & set(out)
    assert line.num_callers == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_backlogged_caller_falls_behind_its_share_by_more_than_one_job(seed):
    chance = random.Random(seed)
    line, served = Line(), Counter()
    biggest = 32
    costs = {(caller, index): chance.randint(1, biggest) for caller in WEIGHTS for index in range(400)}
    for (caller, index), cost in costs.items():
        line.add((caller, index), caller_id=caller, weight=WEIGHTS[caller], cost=cost)
    for _ in range(500):
        item = line.pop()
        served[item[0]] += costs[item]
        shares = [served[caller] / weight for caller, weight in WEIGHTS.items()]
        assert max(shares) - min(shares) <= biggest / min(WEIGHTS.values())
