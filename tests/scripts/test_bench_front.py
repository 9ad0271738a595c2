"""What scripts/bench_front.py says of its figures, and how it reads a front from outside."""

import asyncio

import pytest

from scripts.bench_front import LIMITS, _print_limits
from scripts.fronts.caller import Connection, request

BESIDE = {
    "decoder_cpu_ms_binary": 4.0,
    "decoder_cpu_ms_json": 4.0,
    "front_core_share": 0.9,
    "queued_upload_kb": 100.0,
    "rss_kb_per_queued_limit": 194.0,
}
GOOD = BESIDE | {
    "cpu_ms_binary": 1.5,
    "cpu_ms_json": 3.5,
    "requests_per_second_one_core": 250.0,
    "rss_kb_per_queued": 194.0,
    "scheduler_decision_us": 100.0,
    "throughput_vs_engine": 0.97,
}


def verdicts(capsys, result):
    _print_limits(result)
    lines = capsys.readouterr().out.splitlines()[1 : 1 + len(LIMITS)]
    return dict(zip(LIMITS, (line.split()[-1] for line in lines), strict=True))


def test_figures_at_their_limits_pass(capsys):
    assert set(verdicts(capsys, GOOD).values()) == {"pass"}


@pytest.mark.parametrize(
    ("key", "worse"), [(key, -1e-3 if sign == ">=" else 1e-3) for key, (_, sign, _) in LIMITS.items()]
)
def test_a_figure_over_its_limit_is_said_to_be_missed_and_no_other(capsys, key, worse):
    found = verdicts(capsys, GOOD | {key: GOOD[key] + worse})
    assert [name for name, verdict in found.items() if verdict == "MISSED"] == [key]


async def test_a_refusal_is_never_counted_as_an_answer():
    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy")
        await writer.drain()
        writer.close()

    async def run():
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            connection = await Connection.open(server.sockets[0].getsockname()[1])
            try:
                await connection.ask(request("/", "text/plain", b"", "*/*"))
            finally:
                await connection.close()

    with pytest.raises(AssertionError, match="busy"):
        await run()
