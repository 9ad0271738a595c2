"""Far more callers than there is room for: `python -m loadtest.overload [--factor 10] [--seconds 60] [--worker real]`.

Starts a front (with real decoders) before a fake worker of eight rows that sleeps in its steps, or before the real
worker with the embedded bundle. First a closed loop measures the capacity; then callers who don't wait for each other
come at `factor` times that rate, each on a connection of its own, with a deadline. Printed are what became of them:
goodput against capacity, how long a refusal takes (as the client saw it, and in the front by its own Server-Timing),
the front's processor time, how late the accepted were, and the front's memory. Every request must be answered, and
every job once.

The last line is one JSON object; the exit status is 1 when goodput is below --goodput of the capacity, when a
request got no answer, or when a job was answered twice.
"""

import asyncio
import contextlib
import json
import os
import re
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import click

from loadtest.arrivals import plan_arrivals
from scripts.fronts.caller import astronaut
from scripts.fronts.served import REAL, Served, fake, served

HEAD = re.compile(rb"^HTTP/1\.1 (\d+)")
OWN_MS = re.compile(rb"server-timing: .*total;dur=([0-9.]+)", re.IGNORECASE)
JOB_ID = re.compile(rb'^\{"id":"([0-9a-f]+)"')
PROBE_SECONDS = 0.5


@dataclass
class Outcomes:
    """What came back. Times in seconds."""

    statuses: Counter[str] = field(default_factory=Counter[str])
    served: list[float] = field(default_factory=list[float])
    shed: list[float] = field(default_factory=list[float])
    shed_own_ms: list[float] = field(default_factory=list[float])  # the front's own time for a refusal
    job_ids: Counter[bytes] = field(default_factory=Counter[bytes])
    began: float = field(default_factory=time.perf_counter)
    last_served_at: float = 0.0

    def take(self, answer: bytes, seconds: float) -> None:
        match = HEAD.match(answer)
        if match is None:
            self.statuses["no answer"] += 1
            return
        head, _, body = answer.partition(b"\r\n\r\n")
        status = match[1].decode()
        code = re.search(rb'"code":"([a-z_]+)"', body) if status != "200" else None
        self.statuses[f"{status} {code[1].decode()}" if code else status] += 1
        if status == "200":
            self.served.append(seconds)
            self.last_served_at = time.perf_counter()
            if (job := JOB_ID.match(body)) is not None:
                self.job_ids[job[1]] += 1
        elif status == "503":
            self.shed.append(seconds)
            if (own := OWN_MS.search(head)) is not None:
                self.shed_own_ms.append(float(own[1]))


class LoadCaller:
    """Sends whole requests, each on a connection of its own."""

    def __init__(self, port: int, selfie: bytes, deadline: float, steps: int) -> None:
        self._port = port
        self._request = (
            f"POST /v1/portraits?style=corporate&steps={steps}&deadline={deadline:g} HTTP/1.1\r\nHost: front\r\n"
            f"Content-Type: image/jpeg\r\nConnection: close\r\nContent-Length: {len(selfie)}\r\n\r\n"
        ).encode() + selfie

    async def ask(self, outcomes: Outcomes) -> None:
        began = time.perf_counter()
        answer = b""
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(self._request)
                answer = await reader.read(-1)
            finally:
                writer.close()
        outcomes.take(answer, time.perf_counter() - began)


async def capacity_of(caller: LoadCaller, seconds: float, callers: int) -> float:
    """Portraits in a second when there are always enough who wait."""
    outcomes = Outcomes()

    async def keep_asking() -> None:
        while time.perf_counter() < outcomes.began + seconds:
            await caller.ask(outcomes)

    await asyncio.gather(*(keep_asking() for _ in range(callers)))
    return len(outcomes.served) / (outcomes.last_served_at - outcomes.began)


async def overload(
    front: Served, caller: LoadCaller, rate: float, seconds: float, seed: int
) -> tuple[Outcomes, list[float]]:
    """What came of arrivals at `rate` a second, and the front's memory in MB meanwhile."""
    outcomes, memory = Outcomes(), list[float]()
    asking = set[asyncio.Task[None]]()
    probing = asyncio.create_task(_probe(front, memory))
    for arrival in plan_arrivals("poisson", rate, seconds, seed):
        await asyncio.sleep(max(outcomes.began + arrival.due_seconds - time.perf_counter(), 0))
        task = asyncio.create_task(caller.ask(outcomes))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    probing.cancel()
    return outcomes, memory


async def _probe(front: Served, memory: list[float]) -> None:
    while True:
        memory.append(front.resident_kilobytes / 1024)
        await asyncio.sleep(PROBE_SECONDS)


def at(values: list[float], share: float) -> float | None:
    """The quantile, nearest rank."""
    ordered = sorted(values)
    return round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 4) if ordered else None


@click.command(help=__doc__)
@click.option("--factor", default=10.0, show_default=True, help="Arrivals, in capacities.")
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--worker", type=click.Choice(["fake", "real"]), default="fake", show_default=True)
@click.option("--step-seconds", default=0.2, show_default=True, help="Of the fake worker, for up to eight images.")
@click.option("--steps", default=4, show_default=True)
@click.option("--deadline", default=10.0, show_default=True, help="Seconds that each caller gives.")
@click.option("--side", default=512, show_default=True, help="The selfie's width and height.")
@click.option("--goodput", default=0.9, show_default=True, help="Share of the capacity that must be kept.")
@click.option("--seed", default=7, show_default=True)
def main(
    factor: float,
    seconds: float,
    worker: str,
    step_seconds: float,
    steps: int,
    deadline: float,
    side: int,
    goodput: float,
    seed: int,
) -> None:
    sleeping = fake("--rows", "8", "--measure", "--step-seconds", f"{step_seconds:g}")
    with served(REAL if worker == "real" else sleeping) as front:
        caller = LoadCaller(front.port, astronaut(side), deadline, steps)
        capacity = asyncio.run(capacity_of(caller, max(5.0, seconds / 4), callers=16))
        before, used = front.resident_kilobytes / 1024, front.cpu_seconds
        outcomes, memory = asyncio.run(overload(front, caller, factor * capacity, seconds, seed))
        after, used = front.resident_kilobytes / 1024, front.cpu_seconds - used
    num_served, took = len(outcomes.served), outcomes.last_served_at - outcomes.began
    twice = sum(count - 1 for count in outcomes.job_ids.values())
    result = {
        "capacity_per_second": round(capacity, 2),
        "offered_per_second": round(factor * capacity, 2),
        "goodput_per_second": round(num_served / took, 2),
        "goodput_share": round(num_served / took / capacity, 3),
        "outcomes": dict(outcomes.statuses.most_common()),
        "shed_p50_ms": round(1e3 * (at(outcomes.shed, 0.5) or 0), 2),
        "shed_p99_ms": round(1e3 * (at(outcomes.shed, 0.99) or 0), 2),
        "shed_own_p50_ms": at(outcomes.shed_own_ms, 0.5),
        "front_cpu_ms_per_request": round(1e3 * used / outcomes.statuses.total(), 2),
        "served_p50_seconds": at(outcomes.served, 0.5),
        "served_p99_seconds": at(outcomes.served, 0.99),
        "answered_twice": twice,
        "rss_mb": {"before": round(before), "most": round(max(memory)), "after": round(after)},
        "rss_mb_second_half_growth": round(statistics.fmean(memory[-4:]) - memory[len(memory) // 2], 1),
        "worker": worker,
        "seconds": seconds,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[1], 1),
    }
    for name, value in result.items():
        click.echo(f"  {name:28} {value}")
    click.echo(json.dumps(result))
    is_lost = outcomes.statuses["no answer"] > 0
    sys.exit(1 if result["goodput_share"] < goodput or is_lost or twice else 0)


if __name__ == "__main__":
    main()
