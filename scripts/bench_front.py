"""What the front adds to a worker's own time: `python -m scripts.bench_front [--requests 200] [--side 1024]`.

A real front with real decoders stands before a fake worker that sleeps and reports its own true time. Printed are, in
milliseconds: the whole as the client saw it less the worker's time (`added`), that less the selfie's decoding
(`own`), and the front's resident memory before and after. The last line is JSON.
"""

import io
import json
import os
import re
import statistics
import subprocess
import sys
import time

import click
import httpx
import numpy as np
from PIL import Image


def selfie(side: int) -> bytes:
    """A JPEG of soft noise, about as large as a photo of that size."""
    noise = np.random.default_rng(0).integers(0, 255, (side // 8, side // 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def resident_megabytes(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        match = re.search(r"VmRSS:\s+(\d+) kB", file.read())
    assert match is not None
    return int(match[1]) / 1024


def measure(client: httpx.Client, address: str, body: bytes) -> tuple[float, float]:
    """One request: (added, own) milliseconds."""
    started = time.perf_counter()
    answer = client.post(
        f"{address}/v1/portraits?style=corporate", content=body, headers={"Content-Type": "image/jpeg"}
    )
    seen = (time.perf_counter() - started) * 1e3
    answer.raise_for_status()
    timings = answer.json()["timings_ms"]
    added = seen - timings["worker_total"]
    return added, added - timings["decode_upload"]


def summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 2), "p95": round(ordered[int(len(ordered) * 0.95)], 2)}


@click.command(help=__doc__)
@click.option("--requests", "num_requests", default=200, show_default=True)
@click.option("--side", default=1024, show_default=True, help="The selfie's width and height.")
def main(num_requests: int, side: int) -> None:
    command = [sys.executable, "-m", "tests.service.front_with_fake", "--step-seconds", "0.02", "--measure"]
    body = selfie(side)
    with subprocess.Popen([*command, "--", "serve", "--port", "0"], stdout=subprocess.PIPE, text=True) as front:
        assert front.stdout is not None
        address = front.stdout.readline().split()[-1]
        front.stdout.readline()
        before = resident_megabytes(front.pid)
        with httpx.Client(timeout=30) as client:
            for _ in range(10):
                measure(client, address, body)
            results = [measure(client, address, body) for _ in range(num_requests)]
        after = resident_megabytes(front.pid)
        front.terminate()
    added, own = (summary([result[part] for result in results]) for part in (0, 1))
    click.echo(
        f"{num_requests} requests in turn, selfie {side}x{side} JPEG of {len(body)} bytes, {os.cpu_count()} cores"
    )
    click.echo(f"added over the worker's time: p50 {added['p50']} ms, p95 {added['p95']} ms")
    click.echo(f"  without the decoding:       p50 {own['p50']} ms, p95 {own['p95']} ms")
    click.echo(f"resident memory: {before:.0f} MB at rest, {after:.0f} MB after")
    click.echo(json.dumps({"added_ms": added, "own_ms": own, "rss_mb": {"before": before, "after": after}}))


if __name__ == "__main__":
    main()
