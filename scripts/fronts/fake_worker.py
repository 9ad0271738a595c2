"""A worker that computes nothing: the real protocol, scripted behaviour. In a thread, or as a process:

    python -m scripts.fronts.fake_worker --fd N --tray-socket M [--step-seconds 0.01] [--rows 8] [--start-seconds 0]
        [--broken MESSAGE] [--silent] [--measure] [--image-bytes 0]

Words in a prompt make a job misbehave: CRASH ends the process, HANG stops the whole worker without a word (no
heartbeat either), STALL never finishes this job, BIG makes its images large, FAIL:<code>:<fault> fails it.
"""

import argparse
import contextlib
import dataclasses
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from models.wire.bundle_info import AdapterInfo, BundleInfo, FileInfo, FinalInfo, LoraInfo
from models.wire.channel import Channel
from models.wire.events import Done, Dropped, FaceReport, Failed, JobWarning, Portrait, Started, Stepped, Timings
from models.wire.groups import merge, sides
from models.wire.messages import Cancel, FromWorker, Shutdown, ToWorker
from models.wire.order import Order
from models.wire.reports import Broken, Figures, Ready, Tick
from models.wire.setup import Setup

BUNDLE = BundleInfo(
    name="fake",
    title="Nothing, quickly",
    adapters=[
        AdapterInfo(name="photomaker-v2", takes_pose=False, own_bytes=3000, shared_bytes=1000),
        AdapterInfo(name="instantid", takes_pose=True, own_bytes=5000, shared_bytes=2000),
    ],
    loras=[LoraInfo(name="film", scale=0.8, licence="CC0-1.0", commercial="yes")],
    samplers=["euler", "lcm", "tcd"],
    sizes=[(256, 256), (256, 320)],
    max_steps=20,
    default_adapter="photomaker-v2",
    default_sampler="euler",
    default_size=(256, 256),
    default_steps=4,
    default_guidance=1.0,
    default_strength=0.8,
    revision="1",
    finals=FinalInfo(sizes=[(512, 512), (512, 640)], steps=3, refined_in_size=True),
    files=[
        FileInfo(
            id="unet", bytes=12, sha256="0" * 64, licence="Apache-2.0", commercial="yes", source="made in this test"
        )
    ],
)
IDENTITY = b"an identity, as a worker packs it"
BIG_BYTES = 30_000_000  # more than the kernel buffers for a client that reads nothing
TIMINGS = Timings(
    face_ms=1.0, identity_ms=2.0, text_ms=3.0, queue_ms=4.0, steps_ms=5.0, decode_ms=6.0, encode_ms=7.0, total_ms=28.0
)
GOOD_FACE = FaceReport(verdict="ok", faces_found=1, box=(1.0, 2.0, 3.0, 4.0), score=0.9)
BAD_FACE = FaceReport(verdict="no_face", faces_found=0)


@dataclasses.dataclass(slots=True, kw_only=True)
class Script:
    step_seconds: float = 0.0
    start_seconds: float = 0.0
    broken: str | None = None
    silent: bool = False
    measure: bool = False  # report the true total, wait and steps instead of TIMINGS'
    rows: int | None = None  # images that a tick moves, first come first served; None: all
    image_bytes: int = 0  # that an image has beside its few words
    warnings: tuple[JobWarning, ...] = ()  # of every job


class FakeWorker:
    """`receive` may be called from any thread; `run` blocks until Shutdown. Records what it got, but for the pixels."""

    def __init__(self, setup: Setup, send: Callable[[FromWorker], None], script: Script | None = None) -> None:
        self.setup = setup
        self.orders: list[Order] = []
        self.cancels: list[str] = []
        self._send = send
        self._script = script or Script()
        self._arrivals: dict[str, float] = {}
        self._first_steps: dict[str, float] = {}
        self._inbox: queue.Queue[ToWorker] = queue.Queue()
        self._jobs: dict[str, tuple[Order, int]] = {}  # steps made

    def receive(self, message: ToWorker) -> None:
        if isinstance(message, Order):
            self._arrivals[message.job_id] = time.perf_counter()
        self._inbox.put(message)

    def run(self) -> None:
        time.sleep(self._script.start_seconds)
        if self._script.broken is not None:
            self._send(Broken(message=self._script.broken))
            return
        self._send(
            Ready(
                device="fake:0",
                bundle=BUNDLE,
                max_rows=8,
                face_analyzer="fake",
                load_seconds=0.1,
                warm_up_seconds=0.2,
                fetchable={"ip-adapter": "commercial-ip"},
            )
        )
        next_figures = time.monotonic()
        while True:
            messages = self._messages()
            if any(isinstance(message, Shutdown) for message in messages):
                return
            for message in messages:
                self._take(message)
            self._tick()
            if time.monotonic() >= next_figures and not self._script.silent:
                next_figures = time.monotonic() + 0.05
                self._send(self._figures())

    def _messages(self) -> list[ToWorker]:
        """All that has arrived; waits a moment for the first."""
        messages: list[ToWorker] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._inbox.get(timeout=0 if self._jobs and self._script.step_seconds == 0 else 0.005))
            while True:
                messages.append(self._inbox.get_nowait())
        return messages

    def _take(self, message: ToWorker) -> None:
        if isinstance(message, Cancel):
            self.cancels.append(message.job_id)
            self._forget(message.job_id)
            self._send(Dropped(job_id=message.job_id))
        elif isinstance(message, Order):
            self.orders.append(
                msgspec.structs.replace(message, photos=msgspec.structs.replace(message.photos, selfies=()))
            )
            self._begin(message)

    def _begin(self, job: Order) -> None:
        if "CRASH" in job.words.prompt:
            os._exit(70)
        if "HANG" in job.words.prompt:
            threading.Event().wait()
        if "FAIL:" in job.words.prompt:
            scripted: list[Any] = job.words.prompt.split("FAIL:")[1].split()[0].split(":")
            code, fault = scripted
            failed = Failed(
                job_id=job.job_id, code=code, message="As scripted.", fault=fault, selfie=0, faces=[BAD_FACE]
            )
            self._send(failed)
            return
        self._send(
            Started(
                job_id=job.job_id,
                faces=[GOOD_FACE] * len(job.photos.selfies),
                adapter=job.adapter or BUNDLE.default_adapter,
                sampling=msgspec.structs.replace(merge(job.sampling, BUNDLE.sampling), size=_size(job)),
                placing=merge(job.placing, BUNDLE.placing),
                warnings=list(self._script.warnings),
                identity=IDENTITY if job.wants_identity else None,
            )
        )
        if job.seeds:
            self._jobs[job.job_id] = (job, 0)
        else:
            self._send(Done(job_id=job.job_id, timings=TIMINGS))

    def _tick(self) -> None:
        """One step of every image of every job, or of the first in the row."""
        if self._jobs:
            time.sleep(self._script.step_seconds)
        room = self._script.rows or sys.maxsize
        for job_id, (job, made) in list(self._jobs.items()):
            room -= len(job.seeds)
            if "STALL" in job.words.prompt or room < 0:
                continue
            if not made:
                self._first_steps[job_id] = time.perf_counter()
            steps = job.sampling.steps or BUNDLE.default_steps
            self._jobs[job_id] = (job, made + 1)
            for index in range(len(job.seeds)):
                preview = b"preview" if job.delivery.previews else None
                self._send(Stepped(job_id=job_id, index=index, step=made + 1, steps=steps, preview=preview))
            if made + 1 >= steps:
                self._finish(job)

    def _finish(self, job: Order) -> None:
        padding = bytes(BIG_BYTES if "BIG" in job.words.prompt else self._script.image_bytes)
        width, height = sides(_size(job))
        for index, seed in enumerate(job.seeds):
            self._send(
                Portrait(
                    job_id=job.job_id,
                    index=index,
                    seed=seed,
                    format=job.delivery.format,
                    width=width,
                    height=height,
                    data=b"image of seed %d" % seed + padding,
                )
            )
        timings = TIMINGS
        if self._script.measure:
            timings = self._measured(self._arrivals[job.job_id], self._first_steps[job.job_id])
        self._send(Done(job_id=job.job_id, timings=timings))
        self._forget(job.job_id)

    def _forget(self, job_id: str) -> None:
        for table in (self._jobs, self._arrivals, self._first_steps):
            table.pop(job_id, None)

    def _measured(self, arrival: float, first_step: float) -> Timings:
        now, first_began = time.perf_counter(), first_step - self._script.step_seconds
        return msgspec.structs.replace(
            TIMINGS,
            queue_ms=(first_began - arrival) * 1e3,
            steps_ms=(now - first_began) * 1e3,
            total_ms=(now - arrival) * 1e3,
        )

    def _figures(self) -> Figures:
        return Figures(
            ticks=[Tick(bucket=4, rows=3, seconds=0.02)],
            rows_running=len(self._jobs),
            rows_waiting=0,
            jobs_held=len(self._jobs),
            device_memory_bytes=1000,
            peak_device_memory_bytes=2000,
        )


def _size(job: Order) -> str:
    if job.final is not None:
        return job.final.size or "512x512"
    return job.sampling.size or "256x256"


def read_frames(channel: Channel, take: Callable[[ToWorker], None]) -> None:
    """Until the other end closes; then take a Shutdown, so that no fake outlives its test."""
    while (message := channel.read()) is not None:
        take(message)
    take(Shutdown())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--tray-socket", type=int, required=True)
    parser.add_argument("--step-seconds", type=float, default=0.0)
    parser.add_argument("--start-seconds", type=float, default=0.0)
    parser.add_argument("--broken")
    parser.add_argument("--silent", action="store_true")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--image-bytes", type=int, default=0)
    arguments = parser.parse_args()
    channel = Channel(socket.socket(fileno=arguments.fd), socket.socket(fileno=arguments.tray_socket))
    script = Script(
        step_seconds=arguments.step_seconds,
        start_seconds=arguments.start_seconds,
        broken=arguments.broken,
        silent=arguments.silent,
        measure=arguments.measure,
        rows=arguments.rows,
        image_bytes=arguments.image_bytes,
    )
    worker = FakeWorker(Setup(), channel.write, script)
    threading.Thread(target=read_frames, args=(channel, worker.receive), daemon=True).start()
    worker.run()
    sys.exit(0)


if __name__ == "__main__":
    main()
