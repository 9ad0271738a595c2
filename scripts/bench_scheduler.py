"""What a batching policy does to callers' waits: a simulation of each, and the real engine held against its own.

    python scripts/bench_scheduler.py [--seconds 20] [--jobs 4000]

One device, jobs of 2, 4 and 8 steps that arrive as independent callers do. The simulated device takes the time of a
step of B rows, `first + each * (B - 1)`, and of a picture's decoding, and nothing else takes any: the ideal of each
policy. Loads are shares of what a device can do that takes one job after another. Slowdown is a job's time over what it
takes alone. The engine then runs a trace of its own on a device that sleeps for the same times; its p99 over the
simulated one is what our code, and the machine, add: 1.10 at most. A part of it is the engine's way: without a second
stream it gives out the pictures of one tick together. `scheduler_decision_us` is the CPU time of what the scheduler
does in a tick, choosing the batch and letting the finished go, with 64 rows running and 1,000 waiting. A table is
printed, and one JSON object as the last line.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

import torch

from loadtest.arrivals import STEPS, STEPS_WEIGHTS, DueRequest, plan_arrivals
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row
from models.engine.scheduler import Scheduler
from models.engine.variance_preserving import VariancePreserving
from scripts.policies import RequestBatches

MOST_OVER_IDEAL = 1.10  # p99 of the engine over p99 of the simulation
MOST_DECISION_US = 100.0
LOADS = (0.5, 0.7, 0.85, 0.95)
MAX_ROWS = 8
KEY = BatchKey("bench", "plain", 64, 64, False)


@dataclass(frozen=True, slots=True)
class Device:
    """Seconds. By default those that are expected of one H200 at 1024x1024, four times slower: sleeping is inexact."""

    first: float = 0.052
    each: float = 0.043
    decode: float = 0.070

    def step(self, rows: int) -> float:
        return self.first + self.each * (rows - 1)

    def alone(self, steps: int) -> float:
        return steps * self.step(1) + self.decode

    @property
    def capacity(self) -> float:
        """Jobs a second, one after another."""
        mean = sum(w * self.alone(s) for s, w in zip(STEPS, STEPS_WEIGHTS, strict=True)) / sum(STEPS_WEIGHTS)
        return 1 / mean


@dataclass(slots=True, eq=False)
class Waiting:
    """A simulated job: as much of a row as a policy looks at."""

    due: float
    plan: range
    key: BatchKey = field(default=KEY)
    step: int = 0
    ended: float = 0.0


def simulate(policy: Any, trace: Sequence[DueRequest], device: Device) -> list[float]:
    """The slowdown of every job, in order of arrival. Decoding is done one picture at a time, as the engine does it."""
    jobs = [Waiting(arrival.due_seconds, range(arrival.steps)) for arrival in trace]
    coming, now, left = iter(jobs), 0.0, len(jobs)
    following = next(coming, None)
    while left:
        while following is not None and following.due <= now:
            policy.add(following)
            following = next(coming, None)
        batch = policy.next_batch()
        if not batch:
            assert following is not None, "a policy that has jobs must run some"
            now = following.due
            continue
        now += device.step(len(batch))
        for job in batch:
            job.step += 1
        finished = [job for job in batch if job.step >= len(job.plan)]
        policy.release(finished)
        for job in finished:
            now += device.decode
            job.ended = now
            left -= 1
    return [(job.ended - job.due) / device.alone(len(job.plan)) for job in jobs]


class Sleeper:
    """A denoiser and decoder that take their time and do nothing."""

    device = torch.device("cpu")

    def __init__(self, device: Device) -> None:
        self._times = device

    def predict(self, latents: torch.Tensor, *_: object) -> torch.Tensor:
        time.sleep(self._times.step(len(latents)))
        return latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        time.sleep(self._times.decode)
        return latents

    resized = decode


def run_engine(trace: Sequence[DueRequest], device: Device) -> list[float]:
    """The slowdown of every job when the engine itself runs the trace, in real time."""
    sleeper = Sleeper(device)
    engine = Engine(sleeper, sleeper, buckets=range(1, MAX_ROWS + 1))  # pyright: ignore[reportArgumentType]
    waiting, ended = list(enumerate(trace)), dict[int, float]()
    began = time.monotonic()
    while len(ended) < len(trace):
        now = time.monotonic() - began
        while waiting and waiting[0][1].due_seconds <= now:
            index, arrival = waiting.pop(0)
            engine.add(_row(index, arrival.steps))
        if not engine.has_work:
            time.sleep(max(0.0, waiting[0][1].due_seconds - now))
            continue
        for finished in engine.tick().finished:
            ended[finished.row.index] = time.monotonic() - began
    return [(ended[i] - arrival.due_seconds) / device.alone(arrival.steps) for i, arrival in enumerate(trace)]


def _row(index: int, steps: int) -> Row:
    return Row(
        job_id=str(index),
        index=index,
        seed=index,
        key=KEY,
        plan=make_plan("euler", steps, VariancePreserving()),
        conditioning=None,
        guidance=1.0,
        deadline=float("inf"),
        latent=torch.zeros(4, 8, 8),
    )


POLICIES: dict[str, Callable[[], Any]] = {
    "one at a time": lambda: RequestBatches(1),
    "request batches": lambda: RequestBatches(MAX_ROWS),
    "step batches": lambda: Scheduler(MAX_ROWS),
}


def decision_us(running: int = 64, waiting: int = 1000, ticks: int = 2000) -> float:
    """Median over ten runs; a row finishes in every tick and another comes, so that every part has work."""
    taken = []
    for _ in range(10):
        scheduler = Scheduler[Waiting](running)
        for _ in range(running + waiting):
            scheduler.add(Waiting(0.0, range(4)))
        fresh = [Waiting(0.0, range(4)) for _ in range(ticks)]
        began = time.process_time()
        for row in fresh:
            batch = scheduler.next_batch()
            scheduler.release(batch[:1])
            scheduler.add(row)
        taken.append((time.process_time() - began) / ticks)
    return round(statistics.median(taken) * 1e6, 2)


@click.command(help=__doc__)
@click.option("--jobs", default=4000, show_default=True, help="Simulated, at each load.")
@click.option("--seconds", default=40.0, show_default=True, help="For the real engine.")
@click.option("--load", default=0.7, show_default=True, help="For the real engine.")
@click.option("--seed", default=1, show_default=True)
def main(jobs: int, seconds: float, load: float, seed: int) -> None:
    device = Device()
    simulated = {
        share: {
            name: _tails(simulate(policy(), _trace(share, jobs / (device.capacity * share), device, seed), device))
            for name, policy in POLICIES.items()
        }
        for share in LOADS
    }
    trace = _trace(load, seconds, device, seed)
    ideal, measured = _tails(simulate(Scheduler(MAX_ROWS), trace, device)), _tails(run_engine(trace, device))
    result = {
        "simulated_slowdown": simulated,
        "engine": {"load": load, "jobs": len(trace), "ideal": ideal, "measured": measured},
        "p99_over_ideal": round(measured["p99"] / ideal["p99"], 3),
        "p50_over_ideal": round(measured["p50"] / ideal["p50"], 3),
        "scheduler_decision_us": decision_us(),
        "limits": {"p99_over_ideal": MOST_OVER_IDEAL, "scheduler_decision_us": MOST_DECISION_US},
    }
    result["within_limits"] = {name: result[name] <= limit for name, limit in result["limits"].items()}
    _print_table(result)
    print(json.dumps(result))


def _trace(share: float, seconds: float, device: Device, seed: int) -> list[DueRequest]:
    return plan_arrivals("poisson", device.capacity * share, seconds, seed)


def _tails(slowdowns: Sequence[float]) -> dict[str, float]:
    ordered = sorted(slowdowns)
    return {
        f"p{share}": round(ordered[min(int(len(ordered) * share / 100), len(ordered) - 1)], 3) for share in (50, 99)
    }


def _print_table(result: dict[str, Any]) -> None:
    print("slowdown of jobs of 2, 4 and 8 steps, p50 / p99, simulated")
    print(f"{'load':>6}" + "".join(f"{name:>20}" for name in POLICIES))
    for share, row in result["simulated_slowdown"].items():
        print(f"{share:6.0%}" + "".join(f"{row[name]['p50']:12.2f} /{row[name]['p99']:6.2f}" for name in POLICIES))
    engine = result["engine"]
    print(f"the engine at {engine['load']:.0%}, {engine['jobs']} jobs on a sleeping device, p50 / p99")
    for name in ("ideal", "measured"):
        print(f"  {name:10}{engine[name]['p50']:8.2f} /{engine[name]['p99']:6.2f}")
    print(f"  {'p99 over the ideal':28}{result['p99_over_ideal']:8.3f}   limit {MOST_OVER_IDEAL:.2f}")
    print(f"  {'the scheduler, us CPU a tick':28}{result['scheduler_decision_us']:8.2f}   limit {MOST_DECISION_US:.0f}")
    over = [name for name, is_within in result["within_limits"].items() if not is_within]
    print("all within their limits" if not over else f"OVER THE LIMIT: {', '.join(over)}")


if __name__ == "__main__":
    main()
