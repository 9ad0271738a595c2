"""The check of the clients: one that fails ends nothing but the exit status. That all work is tested in tests/e2e."""

import pytest

from loadtest.clients_check import Check, NotHere, Result, exit_status, run_one, table


def result_of(act) -> Result:
    return run_one(Check("http://127.0.0.1:9", "none", b""), "openai", "something", act)


def fail(_check):
    raise ValueError("it came\nout wrong")


def skip(_check):
    raise NotHere("instantid is not loaded")


@pytest.mark.parametrize(
    ("act", "outcome", "status"),
    [
        (lambda _check: None, "works", 0),
        (fail, "ValueError: it came out wrong", 1),
        (skip, "skipped: instantid is not loaded", 0),
    ],
)
def test_only_what_is_broken_sets_the_exit_status(act, outcome, status):
    result = result_of(act)
    assert (result.outcome, exit_status([result])) == (outcome, status)


def test_the_table_has_a_line_for_each_check_and_a_sum():
    lines = table([result_of(lambda _check: None), result_of(fail), result_of(skip)]).splitlines()
    assert len(lines) == 4
    assert lines[-1].startswith("1 of 3 work, 1 skipped (openai 3.")
