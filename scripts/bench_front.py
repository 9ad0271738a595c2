"""What the front adds to a worker's own time, and what a caller waits: `python -m scripts.bench_front [--worker real]`.

A real front with real decoders stands before a fake worker that sleeps and reports its own true time, or before the
real worker with the embedded bundle. Printed are, in milliseconds: the whole as the client saw it, that less the
worker's time (`added`), that less the selfie's decoding (`own`), the first request after ready against the tenth,
and the front's resident memory. One portrait a request, one request after another. The last line is JSON.
"""

import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

import click
import httpx
import skimage.data
from PIL import Image

SERVE = ("serve", "--port", "0")
FAKE = (sys.executable, "-m", "tests.service.front_with_fake", "--step-seconds", "0.02", "--measure", "--", *SERVE)
REAL = (sys.executable, "-m", "service", *SERVE)


@dataclass(frozen=True, slots=True)
class Taken:
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


def selfie(side: int) -> bytes:
    """A JPEG of scikit-image's astronaut (NASA, public domain), which is 512 pixels wide and high."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((side, side)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def resident_megabytes(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        match = re.search(r"VmRSS:\s+(\d+) kB", file.read())
    assert match is not None
    return int(match[1]) / 1024


def measure(client: httpx.Client, address: str, body: bytes) -> Taken:
    started = time.perf_counter()
    answer = client.post(
        f"{address}/v1/portraits?style=corporate&subject=woman", content=body, headers={"Content-Type": "image/jpeg"}
    )
    seen = (time.perf_counter() - started) * 1e3
    answer.raise_for_status()
    timings = answer.json()["timings_ms"]
    return Taken(seen, timings["worker_total"], timings["decode_upload"])


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 2), "p95": round(ordered[int(len(ordered) * 0.95)], 2)}


@click.command(help=__doc__)
@click.option("--worker", type=click.Choice(["fake", "real"]), default="fake", show_default=True)
@click.option("--requests", "num_requests", default=200, show_default=True)
@click.option("--side", default=1024, show_default=True, help="The selfie's width and height.")
def main(worker: str, num_requests: int, side: int) -> None:
    body = selfie(side)
    with subprocess.Popen(REAL if worker == "real" else FAKE, stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        address = front.stdout.readline().split()[-1]
        front.stdout.readline()  # ready
        before = resident_megabytes(front.pid)
        with httpx.Client(timeout=30) as client:
            first = [measure(client, address, body) for _ in range(10)]
            taken = [measure(client, address, body) for _ in range(num_requests)]
        after = resident_megabytes(front.pid)
        front.terminate()
    result = {
        "seen_ms": summary([one.seen for one in taken]),
        "worker_ms": summary([one.worker for one in taken]),
        "added_ms": summary([one.added for one in taken]),
        "own_ms": summary([one.own for one in taken]),
        "first_ms": round(first[0].seen, 1),
        "tenth_ms": round(first[9].seen, 1),
        "rss_mb": {"before": round(before), "after": round(after)},
        "worker": worker,
        "side": side,
        "cores": os.cpu_count(),
    }
    click.echo(f"{num_requests} requests in turn, {worker} worker, selfie {side}x{side} JPEG of {len(body)} bytes")
    for name in ("seen", "worker", "added", "own"):
        click.echo(f"  {name:7} p50 {result[f'{name}_ms']['p50']:7.1f} ms   p95 {result[f'{name}_ms']['p95']:7.1f} ms")
    click.echo(f"  first   {result['first_ms']} ms, tenth {result['tenth_ms']} ms")
    click.echo(f"  front's memory {before:.0f} MB at rest, {after:.0f} MB after")
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
