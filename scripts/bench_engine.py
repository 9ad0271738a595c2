"""How long one portrait takes, what batching gains, and how both compare with what people run without us.

    python scripts/bench_engine.py [--rounds 5] [--load 0.85]

Three parts, each side by side in this one process, so that a drift of the machine's speed hits all that is compared:

1. The service's own worker on a real photograph, whole jobs: face, identity, prompt, steps, decode, JPEG. Eight jobs at
   once against one after another.
2. The engine against the stock diffusers pipeline (stock.py): one picture from the same encoded prompt and noise.
   `cpu_vs_stock` is CPU time over CPU time, `max_abs_diff_vs_stock` the largest difference in grey levels.
3. Jobs of 2, 4 and 8 steps that arrive as independent callers do, at `--load` of what one after another could take: the
   same trace under step batching, under batching of whole requests with equal steps, and one at a time (mixed.py,
   policies.py). p99 of slowdown over p99 of slowdown, medians of `--traces` traces.

The second and third run on the embedded bundle alone. Medians are printed, and one JSON object as the last line.
"""

import json
import os
import platform
import queue
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from models.worker.openmp import openmp_environment

os.environ.update(openmp_environment(os.environ))  # as the front starts its workers; read when torch is loaded

import skimage.data
import torch

from models.weights.manifest import PACKAGE
from models.wire.events import Done, Failed, Timings
from models.wire.groups import Sampling, size_text
from models.wire.messages import FromWorker, Shutdown
from models.wire.order import Order, Photos, Words
from models.wire.picture import Picture
from models.wire.reports import Broken, Ready
from models.wire.setup import Setup
from models.worker.worker import Worker
from scripts.mixed import ONE_AT_A_TIME, REQUEST_BATCHES, STEP_BATCHES, Mixed, policies
from scripts.stock import Stock, compare_with_stock
from scripts.studio import BUNDLE, StudioOrder, open_studio

JOBS = 8
PROMPT = "portrait photo of a woman wearing a navy suit, plain grey studio background, soft light"
PATIENCE_SECONDS = 300


class Bench:
    """A warm worker on a thread, and the clock around its jobs."""

    def __init__(self, setup: Setup) -> None:
        self._events: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
        self._worker = Worker(setup, self._events.put)
        self._thread = threading.Thread(target=self._worker.run)
        self._thread.start()
        pixels = skimage.data.astronaut()
        self._selfie = Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.tobytes())
        self._count = 0
        self.ready = self._wait_ready()

    def run(self, jobs: int, *, steps: int, size: tuple[int, int] | None) -> tuple[float, list[Timings]]:
        """Send `jobs` jobs at once; seconds until the last is done, and each one's own timings."""
        began = time.perf_counter()
        for _ in range(jobs):
            self._worker.receive(self._job(steps, size))
        timings = [self._wait_done() for _ in range(jobs)]
        return time.perf_counter() - began, timings

    def stop(self) -> None:
        self._worker.receive(Shutdown())
        self._thread.join(PATIENCE_SECONDS)

    def _job(self, steps: int, size: tuple[int, int] | None) -> Order:
        self._count += 1
        return Order(
            job_id=f"bench-{self._count}",
            photos=Photos(selfies=(self._selfie,)),
            words=Words(prompt=PROMPT, subject="woman"),
            seeds=[self._count],
            sampling=Sampling(steps=steps, size=size_text(size) if size else None),
            deadline_seconds=PATIENCE_SECONDS,
        )

    def _wait_ready(self) -> Ready:
        match self._events.get(timeout=PATIENCE_SECONDS):
            case Ready() as ready:
                return ready
            case Broken(message=message):
                raise click.ClickException(message)
            case other:
                raise click.ClickException(f"expected ready, got {other}")

    def _wait_done(self) -> Timings:
        while True:
            match self._events.get(timeout=PATIENCE_SECONDS):
                case Done(timings=timings):
                    return timings
                case Failed() as failed:
                    raise click.ClickException(f"{failed.code}: {failed.message}")
                case _:
                    pass


@click.command(help=__doc__)
@click.option("--bundle", default="tiny", show_default=True)
@click.option("--manifest", help="Another manifest than the built-in one.")
@click.option("--weights-dir", help="Where downloaded weight files lie.")
@click.option("--device", default="auto", show_default=True)
@click.option("--steps", default=4, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Alternating rounds of each kind.")
@click.option("--load", default=0.85, show_default=True, help="Of mixed jobs, as a share of one-at-a-time capacity.")
@click.option("--jobs", default=250, show_default=True, help="Mixed jobs in a trace.")
@click.option("--traces", default=3, show_default=True, help="Traces of mixed jobs; 0 leaves parts 2 and 3 out.")
def main(
    bundle: str, manifest: str | None, weights_dir: str | None, device: str, steps: int, rounds: int, load: float,
    jobs: int, traces: int,
) -> None:  # fmt: skip
    setup = Setup(bundle=bundle, manifest=manifest, weights_dir=weights_dir, device=device, max_rows=JOBS)
    bench = Bench(setup)
    try:
        result = measure(bench, steps, rounds)
    finally:
        bench.stop()
    if traces and bundle == BUNDLE:
        result |= compare(steps, rounds, load, jobs, traces)
    print_table(result)
    print(json.dumps(result))


def compare(steps: int, rounds: int, load: float, jobs: int, traces: int) -> dict[str, object]:
    """Parts 2 and 3, on the embedded bundle's default adapter."""
    studio = open_studio()
    order = StudioOrder(selfies=(skimage.data.astronaut(),), prompt=PROMPT.replace("woman", "person"), steps=steps)
    stock = compare_with_stock(studio, Stock(PACKAGE / BUNDLE), order, rounds)
    mixed = Mixed(studio, order)
    tails: dict[str, list[float]] = {name: [] for name in policies()}
    for seed in range(traces):
        trace = mixed.trace(load, jobs, seed)
        for name in tails:
            tails[name].append(p99(mixed.slowdowns(trace, name)))
    ours = tails[STEP_BATCHES]
    return {
        **asdict(stock),
        "mixed_load": load,
        "mixed_jobs": jobs,
        "mixed_p99_slowdown": {name: round(statistics.median(values), 2) for name, values in tails.items()},
        "mixed_p99_vs_request_batching": _ratio(ours, tails[REQUEST_BATCHES]),
        "mixed_p99_vs_one_at_a_time": _ratio(ours, tails[ONE_AT_A_TIME]),
    }


def p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios, trace by trace: both ran the same one within the same minute."""
    return round(statistics.median(a / b for a, b in zip(ours, others, strict=True)), 3)


def measure(bench: Bench, steps: int, rounds: int) -> dict[str, object]:
    singles = [bench.run(1, steps=steps, size=None) for _ in range(10)]
    sequential, concurrent = [], []
    for _ in range(rounds):
        sequential.append(sum(bench.run(1, steps=steps, size=None)[0] for _ in range(JOBS)))
        concurrent.append(bench.run(JOBS, steps=steps, size=None)[0])
    stages = [timings for _, [timings] in singles[1:]]
    eight_sequential, eight_concurrent = statistics.median(sequential), statistics.median(concurrent)
    return {
        "one_ms": _ms(statistics.median(seconds for seconds, _ in singles[1:])),
        "eight_sequential_ms": _ms(eight_sequential),
        "eight_concurrent_ms": _ms(eight_concurrent),
        "batch_gain": round(eight_sequential / eight_concurrent, 3),
        "concurrent_over_sequential": round(eight_concurrent / eight_sequential, 3),
        "first_ms": _ms(singles[0][0]),
        "tenth_ms": _ms(singles[9][0]),
        "stages_ms": {name: _median(stages, name) for name in Timings.__struct_fields__},
        "load_s": round(bench.ready.load_seconds, 2),
        "warm_up_s": round(bench.ready.warm_up_seconds, 2),
        "steps": steps,
        "bundle": bench.ready.bundle.name,
        "device": bench.ready.device,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }


def print_table(result: dict[str, object]) -> None:
    print(f"bundle {result['bundle']}, {result['steps']} steps, {result['device']}, {result['cores']} cores")
    for name in ("one_ms", "first_ms", "tenth_ms", "eight_sequential_ms", "eight_concurrent_ms"):
        print(f"  {name.removesuffix('_ms').replace('_', ' '):18} {result[name]:>9} ms")
    print(f"  {'batch gain':18} {result['batch_gain']:>9} x")
    print(f"  stages of one      {result['stages_ms']}")
    if "cpu_vs_stock" not in result:
        return
    print(
        f"  CPU against stock  {result['ours_cpu_ms']} / {result['stock_cpu_ms']} ms = {result['cpu_vs_stock']},",
        end="",
    )
    print(f" apart by at most {result['max_abs_diff_vs_stock']} grey levels")
    print(f"  mixed jobs at {result['mixed_load']}: p99 slowdown {result['mixed_p99_slowdown']},", end="")
    print(f" {result['mixed_p99_vs_request_batching']} of request batching's,", end="")
    print(f" {result['mixed_p99_vs_one_at_a_time']} of one at a time's")


def _median(stages: list[Timings], name: str) -> float:
    return round(statistics.median(getattr(timings, name) for timings in stages), 2)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main()
