"""The simulation against what can be told by hand, and against the engine itself in a time that only sleeping moves."""

import time

import pytest

from loadtest.arrivals import DueRequest, plan_arrivals
from models.engine.scheduler import Scheduler
from scripts import bench_scheduler
from scripts.bench_scheduler import MAX_ROWS, MOST_OVER_IDEAL, POLICIES, Device, run_engine, simulate

DEVICE = Device(first=1.0, each=0.5, decode=2.0)


def arrivals(*due_and_steps):
    return [DueRequest(due_seconds=due, steps=steps) for due, steps in due_and_steps]


def test_a_job_alone_is_not_slowed_down():
    for policy in POLICIES.values():
        assert simulate(policy(), arrivals((0.0, 4), (100.0, 2)), DEVICE) == [1.0, 1.0]


def test_one_at_a_time_waits_and_steps_together_share():
    trace = arrivals((0.0, 4), (0.0, 4))  # alone: 4 steps of 1 s and 2 s of decoding
    assert simulate(POLICIES["one at a time"](), trace, DEVICE) == [1.0, 2.0]
    together = 4 * 1.5 + 2
    assert simulate(POLICIES["step batches"](), trace, DEVICE) == [together / 6, (together + 2) / 6]


def test_a_late_job_joins_the_next_step_and_no_batch_under_way():
    trace = arrivals((0.0, 4), (0.5, 2))
    _, joined = simulate(POLICIES["step batches"](), trace, DEVICE)
    _, waited = simulate(POLICIES["request batches"](), trace, DEVICE)
    assert joined == (1.0 + 2 * 1.5 + 2 - 0.5) / 4
    assert waited == (4 + 2 + 2 + 2 - 0.5) / 4


@pytest.mark.parametrize("load", [0.5, 0.7, 0.85])
def test_the_engine_s_tails_are_the_simulation_s_where_its_code_takes_no_time(load, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    device = Device()
    trace = plan_arrivals("poisson", device.capacity * load, 60.0, 3)
    # an engine without a second stream gives out a tick's pictures together, the simulation each as it is decoded
    ideal, measured = simulate(Scheduler(MAX_ROWS), trace, device), run_engine(trace, device)
    tails = [bench_scheduler._tails(slowdowns)["p99"] for slowdowns in (ideal, measured)]
    assert tails[1] / tails[0] == pytest.approx(1.0, abs=MOST_OVER_IDEAL - 1)
