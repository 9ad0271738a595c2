"""The open loop's schedule: fixed by its seed, at the rate that was asked for."""

from collections import Counter
from itertools import pairwise

import pytest

from loadtest.arrivals import plan_arrivals


def test_the_same_seed_plans_the_same_run() -> None:
    assert plan_arrivals("poisson", 5, 60, seed=3) == plan_arrivals("poisson", 5, 60, seed=3)


def test_another_seed_plans_another_run() -> None:
    assert plan_arrivals("poisson", 5, 60, seed=3) != plan_arrivals("poisson", 5, 60, seed=4)


def test_arrivals_come_in_order_and_before_the_end() -> None:
    dues = [arrival.due_seconds for arrival in plan_arrivals("poisson", 20, 30, seed=1)]
    assert dues == sorted(dues)
    assert dues[0] > 0
    assert dues[-1] < 30


def test_independent_callers_come_at_the_rate_and_in_bursts() -> None:
    dues = [arrival.due_seconds for arrival in plan_arrivals("poisson", 10, 1000, seed=1)]
    gaps = [after - before for before, after in pairwise(dues)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.1, rel=0.05)
    assert spread == pytest.approx(mean, rel=0.05)  # of an exponential distribution they are equal


def test_a_metronome_keeps_its_gap() -> None:
    dues = [arrival.due_seconds for arrival in plan_arrivals("even", 4, 2, seed=1)]
    assert dues == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75])


def test_half_of_the_requests_ask_for_four_steps() -> None:
    plan = plan_arrivals("even", 100, 100, seed=1)
    shares = {steps: count / len(plan) for steps, count in Counter(arrival.steps for arrival in plan).items()}
    assert shares == pytest.approx({2: 0.25, 4: 0.5, 8: 0.25}, abs=0.02)
