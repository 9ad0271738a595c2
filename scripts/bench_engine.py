"""How long one portrait takes in the worker, and what batching gains: eight jobs at once against one after another.

    python scripts/bench_engine.py [--bundle tiny] [--rounds 5]

Runs the service's own worker in this process on a real photograph, whole jobs: face, identity, prompt, steps, decode,
JPEG. Sequential and concurrent rounds alternate, so that a drift of the machine's speed hits both; medians are printed,
and one JSON object as the last line.
"""

import json
import os
import platform
import queue
import statistics
import sys
import threading
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the front starts its workers; read when torch is loaded

import skimage.data
import torch

from models.messages import Broken, Done, Failed, FromWorker, Generate, Picture, Ready, Setup, Shutdown, Timings
from models.worker import Worker

JOBS = 8
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

    def _job(self, steps: int, size: tuple[int, int] | None) -> Generate:
        self._count += 1
        return Generate(
            job_id=f"bench-{self._count}",
            selfies=[self._selfie],
            prompt="portrait photo of a woman wearing a navy suit, plain grey studio background, soft light",
            subject="woman",
            seeds=[self._count],
            steps=steps,
            width=size[0] if size else None,
            height=size[1] if size else None,
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
def main(bundle: str, manifest: str | None, weights_dir: str | None, device: str, steps: int, rounds: int) -> None:
    setup = Setup(bundle=bundle, manifest=manifest, weights_dir=weights_dir, device=device, max_rows=JOBS)
    bench = Bench(setup)
    try:
        result = measure(bench, steps, rounds)
    finally:
        bench.stop()
    print_table(result)
    print(json.dumps(result))


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


def _median(stages: list[Timings], name: str) -> float:
    return round(statistics.median(getattr(timings, name) for timings in stages), 2)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    main()
