"""How fast a body must come: by a clock of the test, and on a real port."""

import asyncio
import json

import pytest

from service.arrival import Arrival, Pace
from tests.service.harness import SELFIE, build_service, listening, post_request

PACE = Pace(total_seconds=300.0, pause_seconds=15.0, bytes_per_second=4096.0)
MEGABYTE = 1_000_000


def sent(chunks, pace=PACE):
    """What is known of a body after these (seconds, bytes); None when it was late before the last of them."""
    arrival = Arrival(pace, 0.0)
    for seconds, num_bytes in chunks:
        if seconds > arrival.late_at:
            return None
        arrival.add(num_bytes, seconds)
    return arrival


def steadily(total, rate, every=1.0):
    return [(every * i, int(rate * every)) for i in range(1, int(total / (rate * every)) + 2)]


@pytest.mark.parametrize(
    "chunks",
    [
        steadily(4.7 * MEGABYTE, 250_000),  # a phone's photo at 2 Mbit/s
        steadily(12 * MEGABYTE, 50_000),
        steadily(1 * MEGABYTE, 8_000),
        steadily(1 * MEGABYTE, 40_000, every=14.0),  # in bursts
        [(14.0, 10_000), (17.0, 100_000)],  # a network that comes late
        [(1.0, 100_000), (15.9, 1)],
    ],
)
def test_a_slow_network_is_waited_for(chunks):
    assert sent(chunks) is not None


@pytest.mark.parametrize(
    ("chunks", "limit", "late_at"),
    [
        ([], 15.0, 15.0),
        ([(2.0, 50_000)], 15.0, 17.0),
        (steadily(15_000, 1_000), 4096.0, 15.0 + 16_000 / 4096),
        ([(10.0, 1), (14.0, 1)], 4096.0, 15.0 + 2 / 4096),
        ([(10.0 * i, 60_000) for i in range(1, 31)], 300.0, 300.0),
    ],
    ids=["nothing", "a stall", "a trickle", "two bytes", "too long in all"],
)
def test_a_stall_a_trickle_and_an_endless_body_are_late_by_their_own_limits(chunks, limit, late_at):
    arrival = sent(chunks)
    assert arrival is not None
    assert arrival.late_at == pytest.approx(late_at)
    assert arrival.lateness[0] == limit


def test_a_trickle_of_single_bytes_is_cut_off_although_it_never_pauses():
    assert sent((0.5 * i, 1) for i in range(1, 40)) is None


async def test_a_body_that_takes_longer_than_a_pause_is_read():
    service = build_service(body_pause_seconds=0.5, body_rate=1.0)
    sent = post_request(body=SELFIE * 10)

    async with listening(service) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in range(0, len(sent), 100):
            writer.write(sent[i : i + 100])
            await asyncio.sleep(0.1)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)
        writer.close()
    assert answer == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("pace", "limit", "words"),
    [
        ({"body_seconds": 0.2}, 0.2, "within 0.2 s"),
        ({"body_pause_seconds": 0.2}, 0.2, "for 0.2 s"),
        ({"body_pause_seconds": 0.1, "body_rate": 2000.0}, 2000.0, "less than 2000 bytes a second"),
    ],
    ids=["total", "pause", "rate"],
)
async def test_a_body_that_is_late_is_told_by_which_limit(pace, limit, words):
    async with listening(build_service(**pace)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post_request(body=bytes(100_000))[:300])
        if limit == 2000.0:
            for _ in range(20):
                await asyncio.sleep(0.02)
                writer.write(b"x")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    problem = json.loads(body)
    assert (problem["code"], problem["limit"]) == ("upload_too_slow", limit)
    assert words in problem["detail"]
