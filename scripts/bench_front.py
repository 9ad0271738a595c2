"""What the front costs: its processor time, its memory, and what it adds to a caller's wait.

    python scripts/bench_front.py [--worker real] [--side 512]

A real front with real decoders stands before a worker that sleeps, and is measured from outside, in parts:

* requests one after another: the whole as the client saw it, that less the worker's time (`added`), that less the
  selfie's decoding (`own`), the first request after ready against the tenth;
* processor time of the front's own process for a request, four at a time: a JPEG answered as image bytes, and JSON
  both ways (POST /v1/images/edits), where pictures are base64. The picture that comes back has 200 kB. Decoding is done
  by other processes, whose time stands beside it;
* requests a second with the front on one core, and all else (callers, worker, decoders) on the others. Selfies of
  `--rate-side` pixels, for else two cores are full of decoding before the front has much to do;
* its memory at rest, and for each job that waits in line with its connection open: the slope from 100 to 400;
* throughput of full batches through the front, over what the same worker does that has all jobs at once;
* what a tick's scheduling costs with 64 rows running and 1,000 waiting (scripts/bench_scheduler.py).

With `--worker real`, the first part alone, before the real worker with the embedded bundle. A table is printed with the
limits, and one JSON object as the last line.
"""

import asyncio
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from scripts.bench_scheduler import decision_us
from scripts.front_loads import cpu_of_requests, rate_on_one_core, resident_per_queued, throughput_share
from scripts.fronts.caller import astronaut
from scripts.fronts.served import REAL, fake, served

# Key of the result -> (what it is, at most or at least, limit). `rss_kb_per_queued`'s comes with its upload.
LIMITS = {
    "cpu_ms_binary": ("front's CPU for a request, JPEG in, image bytes out, ms", "<=", 1.5),
    "cpu_ms_json": ("front's CPU for a request, JSON both ways, ms", "<=", 3.5),
    "requests_per_second_one_core": ("requests a second, front on one core", ">=", 250.0),
    "rss_kb_per_queued": ("memory for each job in line, KB", "<=", None),
    "scheduler_decision_us": ("the scheduler's share of a tick, us", "<=", 100.0),
    "throughput_vs_engine": ("throughput, of the worker's own", ">=", 0.97),
}


@dataclass(frozen=True, slots=True)
class RequestTimes:
    """One request's milliseconds."""

    seen: float  # by the client
    worker: float
    decoding: float

    @property
    def added(self) -> float:
        return self.seen - self.worker

    @property
    def own(self) -> float:
        return self.added - self.decoding


def in_turn(worker: str, selfie: bytes, num_requests: int) -> dict[str, Any]:
    """One request after another, on one connection."""
    with served(REAL if worker == "real" else fake("--step-seconds", "0.02", "--measure")) as front:
        idle = front.resident_kilobytes / 1024
        with httpx.Client(timeout=30, base_url=f"http://127.0.0.1:{front.port}") as client:
            taken = [_ask(client, selfie) for _ in range(10 + num_requests)]
        after = front.resident_kilobytes / 1024
    first, tenth, counted = taken[0], taken[9], taken[10:]
    return {
        "seen_ms": _summary([one.seen for one in counted]),
        "worker_ms": _summary([one.worker for one in counted]),
        "added_ms": _summary([one.added for one in counted]),
        "own_ms": _summary([one.own for one in counted]),
        "first_ms": round(first.seen, 1),
        "tenth_ms": round(tenth.seen, 1),
        "rss_mb_idle": round(idle, 1),
        "rss_mb": {"before": round(idle), "after": round(after)},
    }


def _ask(client: httpx.Client, selfie: bytes) -> RequestTimes:
    started = time.perf_counter()
    answer = client.post(
        "/v1/portraits?style=corporate&subject=woman", content=selfie, headers={"Content-Type": "image/jpeg"}
    )
    seen = (time.perf_counter() - started) * 1e3
    answer.raise_for_status()
    timings = answer.json()["timings_ms"]
    return RequestTimes(seen, timings["worker_total"], timings["decode_upload"])


def _summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 2), "p95": round(ordered[int(len(ordered) * 0.95)], 2)}


def under_load(side: int, rate_side: int, num_requests: int, seconds: float) -> dict[str, Any]:
    """Everything that needs a worker that sleeps."""
    selfie = astronaut(side)
    cpu = asyncio.run(cpu_of_requests(selfie, num_requests))
    return {
        **cpu,
        **asyncio.run(rate_on_one_core(astronaut(rate_side), seconds)),
        **asyncio.run(resident_per_queued(astronaut(2 * side))),
        **asyncio.run(throughput_share(selfie, seconds)),
        "scheduler_decision_us": decision_us(),
        "rate_side": rate_side,
    }


@click.command(help=__doc__)
@click.option("--worker", type=click.Choice(["fake", "real"]), default="fake", show_default=True)
@click.option("--requests", "num_requests", default=200, show_default=True, help="One after another.")
@click.option("--side", default=512, show_default=True, help="The selfie's width and height.")
@click.option("--rate-side", default=256, show_default=True, help="The same, for the requests a second.")
@click.option("--seconds", default=10.0, show_default=True, help="Of each of the parts that run for a time.")
def main(worker: str, num_requests: int, side: int, rate_side: int, seconds: float) -> None:
    selfie = astronaut(side)
    result = in_turn(worker, selfie, num_requests)
    if worker == "fake":
        result |= under_load(side, rate_side, 2 * num_requests, seconds)
    result |= {"worker": worker, "side": side, "cores": os.cpu_count(), "load_before": round(os.getloadavg()[1], 1)}
    click.echo(f"{num_requests} requests in turn, {worker} worker, selfie {side}x{side} JPEG of {len(selfie)} bytes")
    for name in ("seen", "worker", "added", "own"):
        click.echo(f"  {name:7} p50 {result[f'{name}_ms']['p50']:7.1f} ms   p95 {result[f'{name}_ms']['p95']:7.1f} ms")
    click.echo(f"  first   {result['first_ms']} ms, tenth {result['tenth_ms']} ms")
    click.echo(f"  front's memory {result['rss_mb']['before']} MB at rest, {result['rss_mb']['after']} MB after")
    if worker == "fake":
        _print_limits(result)
    click.echo(json.dumps(result))


def _print_limits(result: dict[str, Any]) -> None:
    click.echo(f"{'':58}{'measured':>10}{'limit':>12}")
    for key, (what, sign, limit) in LIMITS.items():
        limit = result[f"{key}_limit"] if limit is None else limit
        value = result[key]
        passes = value <= limit if sign == "<=" else value >= limit
        click.echo(f"  {what:56}{value:10.2f}{sign:>4}{limit:8.2f}  {'pass' if passes else 'MISSED'}")
    binary, json_ = result["decoder_cpu_ms_binary"], result["decoder_cpu_ms_json"]
    click.echo(f"  the decoders' CPU for a request beside it: {binary:.2f} and {json_:.2f} ms")
    click.echo(f"  at that rate the front had {result['front_core_share']:.0%} of its core")
    click.echo(f"  in line with uploads of {result['queued_upload_kb']:.0f} KB: limit 1.3 of them and 64 KB")


if __name__ == "__main__":
    main()
