"""Quotas by a virtual clock: what is taken, what comes back, and what the fields promise."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.access.caller import ANONYMOUS, SCOPES, Caller, Limits
from service.access.quota import Hold, Quotas
from service.errors import BadRequest, QuotaExceeded, ServiceError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def caller_with(images: int | None = None, jobs: int | None = None, key_id: str = "k1") -> Caller:
    limits = Limits(images_per_minute=images, jobs_in_flight=jobs)
    return Caller(id="shop", key_id=key_id, scopes=SCOPES, limits=limits)


def refused(quotas: Quotas, caller: Caller, images: int = 1) -> QuotaExceeded:
    with pytest.raises(QuotaExceeded) as caught:
        quotas.take(caller, images)
    return caught.value


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def quotas(clock: Clock) -> Quotas:
    return Quotas(clock=clock)


def test_a_minutes_images_may_come_at_once_and_then_no_more(quotas: Quotas) -> None:
    caller = caller_with(images=6)
    quotas.take(caller, 4)
    quotas.take(caller, 2)
    error = refused(quotas, caller)
    assert error.code == "images_used_up"
    assert error.status == 429
    assert (error.value, error.limit, error.retry_after_seconds) == (0, 6, 10)
    assert error.extra == {"violated-policies": ["images"]}
    assert error.problem("r")["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"


@pytest.mark.parametrize("size", [7, 30, 60, 90])
@pytest.mark.parametrize("start", [0.1, 1234.567, 1e6 + 1 / 3])
def test_who_waits_as_long_as_retry_after_says_is_served(quotas: Quotas, clock: Clock, size: int, start: float) -> None:
    clock.now = start
    caller = caller_with(images=size)
    quotas.take(caller, size)
    for _ in range(200):
        clock.now += refused(quotas, caller, 3).retry_after_seconds or 0
        quotas.take(caller, 3)


def test_more_than_a_whole_minutes_images_can_never_be_served_and_is_told_so(quotas: Quotas) -> None:
    with pytest.raises(BadRequest, match="n_over_quota") as caught:
        quotas.take(caller_with(images=3), 4)
    assert caught.value.limit == 3


def test_a_refused_take_takes_nothing(quotas: Quotas, clock: Clock) -> None:
    caller = caller_with(images=60, jobs=1)
    hold = quotas.take(caller, 20)
    refused(quotas, caller, 20)
    assert '"images";r=40' in quotas.fields(caller)["RateLimit"]
    hold.release()
    refused(quotas, caller, 41)
    assert '"jobs";r=1' in quotas.fields(caller)["RateLimit"]


def test_jobs_at_once_are_bounded_until_one_ends(quotas: Quotas) -> None:
    caller = caller_with(jobs=2)
    first = quotas.take(caller, 1)
    quotas.take(caller, 1)
    error = refused(quotas, caller)
    assert error.code == "too_many_jobs"
    assert error.extra == {"violated-policies": ["jobs"]}
    first.release()
    quotas.take(caller, 1)


def test_a_job_ends_once_however_often_it_is_told(quotas: Quotas) -> None:
    caller = caller_with(images=10, jobs=2)
    first, _second = quotas.take(caller, 1), quotas.take(caller, 1)
    first.release()
    first.refund()
    first.release()
    assert quotas.fields(caller)["RateLimit"] == '"images";r=8;t=6, "jobs";r=1'


def test_a_refund_gives_the_images_back_and_never_more_than_there_were(quotas: Quotas, clock: Clock) -> None:
    caller = caller_with(images=10)
    hold = quotas.take(caller, 8)
    clock.now += 30  # five have come back already
    hold.refund()
    assert '"images";r=10' in quotas.fields(caller)["RateLimit"]


def test_the_wait_for_a_job_to_end_is_learned_from_those_that_ended(quotas: Quotas, clock: Clock) -> None:
    caller = caller_with(jobs=1)
    for _ in range(30):
        hold = quotas.take(caller, 1)
        clock.now += 20
        hold.release()
    quotas.take(caller, 1)
    clock.now += 5
    assert refused(quotas, caller).retry_after_seconds in (15, 16)


def test_each_key_has_its_own_account(quotas: Quotas) -> None:
    quotas.take(caller_with(images=1, key_id="page"), 1)
    quotas.take(caller_with(images=1, key_id="back-end"), 1)


def test_a_quota_that_the_operator_changes_holds_at_once(quotas: Quotas) -> None:
    quotas.take(caller_with(images=10), 8)
    assert '"images";q=5' in quotas.fields(caller_with(images=5))["RateLimit-Policy"]
    refused(quotas, caller_with(images=5), 3)
    quotas.take(caller_with(images=None), 1000)


def test_a_caller_without_quotas_gets_no_fields_and_no_bound(quotas: Quotas) -> None:
    for _ in range(1000):
        quotas.take(ANONYMOUS, 8)
    assert quotas.fields(ANONYMOUS) == {}


def test_the_fields_say_what_was_promised_and_what_is_left(quotas: Quotas) -> None:
    caller = caller_with(images=30, jobs=4)
    quotas.take(caller, 5)
    assert quotas.fields(caller) == {
        "RateLimit-Policy": '"images";q=30;qu="images";w=60, "jobs";q=4;qu="concurrent-requests"',
        "RateLimit": '"images";r=25;t=2, "jobs";r=3',
    }


def attempt(quotas: Quotas, caller: Caller, images: int) -> Hold | ServiceError:
    try:
        return quotas.take(caller, images)
    except ServiceError as error:
        return error


@given(
    size=st.integers(1, 100),
    steps=st.lists(st.tuples(st.integers(1, 8), st.floats(0, 30), st.booleans()), max_size=60),
)
@settings(deadline=None)
def test_no_window_ever_sees_more_than_was_promised(size: int, steps: list[tuple[int, float, bool]]) -> None:
    """A bucket's bound: a minute's worth that was saved, and what refilled meanwhile; Retry-After is never early."""
    clock = Clock()
    quotas, caller, taken = Quotas(clock=clock), caller_with(images=size, jobs=3), 0
    for images, wait, ends in steps:
        clock.now += wait
        outcome = attempt(quotas, caller, images)
        if isinstance(outcome, Hold):
            taken += images
            if ends:
                outcome.release()
        elif isinstance(outcome, QuotaExceeded):
            window = re.search(r'"images";r=\d+;t=(\d+)', quotas.fields(caller)["RateLimit"])
            assert window is not None
            assert 1 <= int(window[1]) <= (outcome.retry_after_seconds or 0)
        else:
            assert images > size
        assert taken <= size * (1 + (clock.now - 1000) / 60) + 1e-6
