"""The loads of scripts/bench_front.py that a front bears before a worker that sleeps. Asyncio, over real sockets."""

import asyncio
import base64
import contextlib
import json
import os
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

from models.wire.events import Done
from models.wire.frames import encode_frame
from models.wire.groups import Sampling
from models.wire.messages import FromWorker, Shutdown
from models.wire.order import Order, Photos, Words
from models.wire.picture import Picture
from models.wire.reports import Ready
from models.wire.setup import Setup
from scripts.fronts.caller import Connection, request
from scripts.fronts.fake_worker import FakeWorker, Script
from scripts.fronts.served import Served, fake, served

CALLERS = 4
PICTURE_BYTES = 200_000  # of a JPEG of 1024x1024
RATE_CALLERS = 16  # a front's MAX_UPLOADS: more would be refused
FEW_QUEUED, MANY_QUEUED = 100, 400
DEADLINE = 120  # seconds; the longest that a front gives unless told otherwise
ROWS, STEPS, STEP_SECONDS = 8, 4, 0.05  # of the worker whose batches are full: 40 images a second
FULL_CALLERS = 3 * ROWS
QUICK = fake("--step-seconds", "0.001", "--image-bytes", str(PICTURE_BYTES))


async def cpu_of_requests(selfie: bytes, num_requests: int) -> dict[str, Any]:
    """Processor milliseconds for a request: of the front, and of its decoders."""
    binary = request("/v1/portraits?steps=1", "image/jpeg", selfie, "image/jpeg")
    address = "data:image/jpeg;base64," + base64.b64encode(selfie).decode()
    fields = {"model": "fake", "prompt": "portrait of a person", "images": [{"image_url": address}]}
    as_json = request("/v1/images/edits", "application/json", json.dumps(fields).encode(), "application/json")
    result: dict[str, Any] = {}
    with served(QUICK) as front:
        for name, body in (("binary", binary), ("json", as_json)):
            await _ask_many(front.port, body, num_requests // 4)  # warm
            own, decoders = front.cpu_seconds, front.decoder_seconds
            await _ask_many(front.port, body, num_requests)
            result[f"cpu_ms_{name}"] = _ms_each(front.cpu_seconds - own, num_requests)
            result[f"decoder_cpu_ms_{name}"] = _ms_each(front.decoder_seconds - decoders, num_requests)
    return result


def _ms_each(seconds: float, num: int) -> float:
    return round(seconds * 1e3 / num, 2)


async def _ask_many(port: int, body: bytes, num: int) -> None:
    left = iter(range(num))

    async def ask(connection: Connection) -> None:
        for _ in left:
            await connection.ask(body)

    async with _connections(port, CALLERS) as connections:
        await asyncio.gather(*map(ask, connections))


async def rate_on_one_core(selfie: bytes, seconds: float) -> dict[str, Any]:
    """Image in, image out, from as many callers as may upload at once."""
    body = request("/v1/portraits?steps=1", "image/jpeg", selfie, "image/jpeg")
    cores = os.sched_getaffinity(0)
    with served(QUICK) as front:
        first, *others = sorted(cores)
        front.pin(first, set(others) or cores)
        try:
            await _closed_loop(front, body, RATE_CALLERS, 1.0)  # warm
            used = front.cpu_seconds
            rate = await _closed_loop(front, body, RATE_CALLERS, seconds)
            used = front.cpu_seconds - used
        finally:
            os.sched_setaffinity(0, cores)
    return {"requests_per_second_one_core": round(rate, 1), "front_core_share": round(used / seconds, 3)}


async def _closed_loop(front: Served, body: bytes, callers: int, seconds: float) -> float:
    """Answers a second, from the first to the last while all callers go on asking."""
    answered: list[float] = []
    until = time.perf_counter() + seconds

    async def keep_asking(connection: Connection) -> None:
        while time.perf_counter() < until:
            await connection.ask(body)
            answered.append(time.perf_counter())

    async with _connections(front.port, callers) as connections:
        await asyncio.gather(*map(keep_asking, connections))
    counted = [at for at in answered if at < until]
    return (len(counted) - 1) / (counted[-1] - counted[0])


async def resident_per_queued(selfie: bytes) -> dict[str, Any]:
    """KB of the front for each further job in line, whose caller waits on an open connection."""
    body = request(f"/v1/portraits?prompt=STALL&deadline={DEADLINE}", "image/jpeg", selfie, "text/event-stream")
    upload = len(selfie) / 1024
    resident: list[float] = []
    with served(QUICK, {"PROOFSHEET_MAX_JOBS": str(2 * MANY_QUEUED)}) as front:
        async with asyncio.timeout(DEADLINE), contextlib.AsyncExitStack() as waiting:  # later, the first leave the line
            for num in (FEW_QUEUED, MANY_QUEUED - FEW_QUEUED):
                await _queue(front, num, body, waiting)
                resident.append(front.resident_kilobytes)
    return {
        "rss_kb_per_queued": round((resident[1] - resident[0]) / (MANY_QUEUED - FEW_QUEUED), 1),
        "rss_kb_per_queued_limit": round(1.3 * upload + 64, 1),
        "queued_upload_kb": round(upload, 1),
    }


async def _queue(front: Served, num: int, body: bytes, waiting: contextlib.AsyncExitStack) -> None:
    """`num` more are in line, a few at a time: a stream of events begins when the photo was decoded."""
    for _ in range(num // CALLERS):
        connections = await waiting.enter_async_context(_connections(front.port, CALLERS))
        await asyncio.gather(*(connection.begin(body) for connection in connections))


async def throughput_share(selfie: bytes, seconds: float) -> dict[str, Any]:
    """Of what the worker does that has all its jobs at once."""
    own = await asyncio.to_thread(_own_rate, int(seconds * ROWS / (STEPS * STEP_SECONDS)))
    body = request(f"/v1/portraits?steps={STEPS}", "image/jpeg", selfie, "image/jpeg")
    arguments = ("--step-seconds", str(STEP_SECONDS), "--rows", str(ROWS), "--image-bytes", str(PICTURE_BYTES))
    with served(fake(*arguments)) as front:
        await _closed_loop(front, body, FULL_CALLERS, 2.0)  # warm
        through = await _closed_loop(front, body, FULL_CALLERS, seconds)
    return {
        "engine_per_second": round(own, 2),
        "through_per_second": round(through, 2),
        "throughput_vs_engine": round(through / own, 3),
    }


def _own_rate(num_jobs: int) -> float:
    """Images a second of the same worker in this process, with every job waiting from the start."""
    ended: list[float] = []

    def send(message: FromWorker) -> None:
        encode_frame(message)
        if isinstance(message, Ready):
            for number in range(num_jobs):
                worker.receive(_job(number))
        if isinstance(message, Done):
            ended.append(time.perf_counter())
            if len(ended) == num_jobs:
                worker.receive(Shutdown())

    script = Script(step_seconds=STEP_SECONDS, rows=ROWS, image_bytes=PICTURE_BYTES)
    worker = FakeWorker(Setup(), send, script)
    began = time.perf_counter()
    thread = threading.Thread(target=worker.run)
    thread.start()
    thread.join()
    return num_jobs / (ended[-1] - began)


def _job(number: int) -> Order:
    pixel = Picture(width=1, height=1, rgb=bytes(3))
    return Order(
        job_id=str(number),
        photos=Photos(selfies=(pixel,)),
        words=Words(prompt="a person"),
        seeds=[number],
        sampling=Sampling(steps=STEPS),
        deadline_seconds=3600.0,
    )


@contextlib.asynccontextmanager
async def _connections(port: int, num: int) -> AsyncGenerator[list[Connection]]:
    connections = [await Connection.open(port) for _ in range(num)]
    try:
        yield connections
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))
