"""The worker: one process per device, all weights warm, messages in and events out.

Three threads, each owning its part: the engine's thread (this module's `run`) ticks and keeps the jobs; the
preparation thread turns orders into rows; the finishing thread encodes pictures. They meet in one inbox.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import torch

from models.bundle.bundle import Bundle
from models.engine.decoding import decoding_on
from models.engine.engine import BooksError, Engine, Exit, FinishedRow, TickReport
from models.engine.rows import Row
from models.faces.files import FacesUnavailable
from models.finish.encoding import encode_image, encode_preview
from models.finish.presenting import present
from models.sdxl.conditioning import RowConditioning
from models.weights.errors import WeightsError
from models.wire.events import Done, Dropped, Failed, Portrait, Stepped
from models.wire.messages import Cancel, FromWorker, Shutdown, ToWorker
from models.wire.order import Order
from models.wire.reports import Broken, Figures, Ready, SpeedInfo, Tick
from models.wire.setup import Setup
from models.worker.devices import choose_device, describe_error, device_name, exit_on_cuda_fault, use_device
from models.worker.held_jobs import HeldJobs
from models.worker.job import Fault, JobRefused, WorkerJob
from models.worker.loading import WorkerParts, load_parts
from models.worker.preparation import Prepared, Preparer
from models.worker.warmup import buckets_to_warm, warm_engine, warm_finishing, warm_preparation

log = logging.getLogger(__name__)

FIGURES_SECONDS = 1.0
MAX_JOBS = 256


@dataclass(frozen=True, slots=True)
class _NotPrepared:
    """A job has left the preparation thread without rows. `failed` is None if it had ended before its turn."""

    job: WorkerJob
    failed: Failed | None


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One picture has left the finishing thread, or what became of it."""

    job: WorkerJob
    index: int
    outcome: Portrait | Failed
    seconds: float


_Inward = ToWorker | Prepared | _NotPrepared | _Encoded  # what the inbox has


class WorkerFailed(Exception):
    """A bug of ours in the loop. The front starts another worker, which gets the jobs once more. Says where it
    happened and nothing else, because a worker's last words go to a log."""


class Worker:
    """`run` serves until Shutdown; `receive` may be called from any thread. `send` must not block for long."""

    def __init__(
        self, setup: Setup, send: Callable[[FromWorker], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._setup = setup
        self._send_unlocked = send
        self._send_lock = threading.Lock()
        self._clock = clock
        self._inbox: queue.SimpleQueue[_Inward] = queue.SimpleQueue()
        self._jobs = HeldJobs()
        self._engines: dict[str, Engine[RowConditioning]] = {}
        self._ticks: list[Tick] = []
        self._figures_due = 0.0
        self._stopping = False

    def receive(self, message: ToWorker) -> None:
        self._inbox.put(message)

    @property
    def is_idle(self) -> bool:
        """Whether nothing of any job is here."""
        return self._jobs.is_idle and not any(engine.has_work for engine in self._engines.values())

    def check_books(self) -> None:
        """Check that every job is in one place, every row belongs to a job, and the engines' own books are right.

        For the thread of `run` between two ticks, or when it has ended. Raises BooksError.
        """
        for engine in self._engines.values():
            engine.check_books()
        rows = (row for engine in self._engines.values() for row in engine.rows())
        if wrong := list(self._jobs.discrepancies(rows)):
            raise BooksError("; ".join(wrong))

    def run(self) -> None:
        """Load, warm, serve. What can't be loaded is told as Broken, and the call returns. Raises WorkerFailed."""
        with (
            ThreadPoolExecutor(1, "prepare", initializer=self._enter_device) as self._preparing,
            ThreadPoolExecutor(1, "finish", initializer=self._enter_device) as self._finishing,
        ):
            try:
                bundle = self._load()
            except (WeightsError, FacesUnavailable) as error:  # which say it all
                self._send(Broken(message=str(error)))
                return
            except Exception as error:
                log.exception("the worker can't start")
                self._send(Broken(message=f"{type(error).__name__}: {error}"))
                return
            try:
                self._serve(bundle)
            except Exception as error:
                raise WorkerFailed(describe_error(error)) from None

    # ---- start

    def _enter_device(self) -> None:
        """In each of the three threads."""
        use_device(choose_device(self._setup.device))

    def _load(self) -> Bundle:
        began = self._clock()
        self._enter_device()
        loaded = load_parts(self._setup)
        bundle = loaded.bundle
        read = self._clock()
        self._share_cores()
        self._warm_up(loaded)
        self._encode_jpeg = loaded.jpeg.encode
        self._preparer = Preparer(bundle, loaded.analyzer, clock=self._clock)
        decoding = decoding_on(bundle.device, bundle.decoder)
        self._engines = {  # one for each UNet, however many adapters share it
            denoiser.name: Engine(
                denoiser,
                bundle.decoder,
                buckets=loaded.buckets,
                clock=self._clock,
                start_decoding=decoding,
                on_fault=_note_fault,
            )
            for denoiser in {stack.denoiser.name: stack.denoiser for stack in bundle.stacks.values()}.values()
        }
        self._send(
            Ready(
                device=device_name(bundle.device),
                bundle=bundle.info,
                max_rows=loaded.buckets[-1],
                face_analyzer=loaded.analyzer.name,
                load_seconds=read - began,
                warm_up_seconds=self._clock() - read,
                speed=_speed(loaded),
                fetchable=dict(loaded.fetchable),
            )
        )
        return bundle

    def _share_cores(self) -> None:
        """All are the engine's; the threads beside it compute alone.

        With pools of their own there would be more OpenMP threads than cores. libgomp then has none of them look for
        work before it sleeps (openmp.py), and a portrait took half as long again. The number is a thread's own, but
        later threads begin with what was set last: so the engine's thread has the last word.
        """
        threads = torch.get_num_threads()
        for beside in (self._preparing, self._finishing):
            beside.submit(_compute_alone).result()
        torch.set_num_threads(threads)

    def _warm_up(self, loaded: WorkerParts) -> None:
        conditionings = self._preparing.submit(warm_preparation, loaded.bundle, loaded.analyzer).result()
        buckets = buckets_to_warm(loaded.buckets, loaded.bundle.device, loaded.speed)
        warm_engine(loaded.bundle, conditionings, buckets)
        self._finishing.submit(warm_finishing, loaded.bundle, loaded.jpeg.encode).result()
        if loaded.cache is not None:
            loaded.cache.save()

    # ---- the loop

    def _serve(self, bundle: Bundle) -> None:
        while not self._stopping:
            was_idle = self.is_idle
            self._read_inbox()
            for engine in self._engines.values():
                if engine.has_work:
                    self._tick(engine, bundle)
            if self.is_idle and not was_idle:
                bundle.forget()
                self.check_books()
            self._send_figures(bundle)
        for job in self._jobs:
            self._end(
                job, _failure(job, "worker_stopping", "The service is stopping; send the request again.", "capacity")
            )

    def _read_inbox(self) -> None:
        """All that has arrived; waits only when there is nothing else to do."""
        idle = not any(engine.has_work for engine in self._engines.values())
        timeout = max(self._figures_due - self._clock(), 0.0) if idle else 0.0
        try:
            self._handle(self._inbox.get(timeout=timeout) if timeout else self._inbox.get_nowait())
            while True:
                self._handle(self._inbox.get_nowait())
        except queue.Empty:
            pass

    def _handle(self, message: _Inward) -> None:
        match message:
            case Order():
                self._accept(message)
            case Prepared():
                self._jobs.end_preparation(message.job)
                self._start(message)
            case _NotPrepared():
                self._jobs.end_preparation(message.job)
                if message.failed is not None:
                    self._end(message.job, message.failed)
            case _Encoded():
                self._jobs.end_encoding(message.job, message.index)
                self._deliver(message)
            case Cancel():
                self._cancel(message.job_id)
            case Shutdown():
                self._stopping = True
            case Setup():
                log.warning("a second setup was ignored")

    def _accept(self, order: Order) -> None:
        job = WorkerJob.accept(order, self._clock())
        if len(self._jobs) >= MAX_JOBS:
            message = f"The worker holds {MAX_JOBS} jobs; try again shortly."
            self._send(_failure(job, "worker_full", message, "capacity"))
            return
        self._jobs.accept(job)
        self._preparing.submit(self._prepare, job)

    def _prepare(self, job: WorkerJob) -> None:
        """On the preparation thread: whatever happens, one message for the inbox comes out."""
        self._inbox.put(self._prepared(job))

    def _prepared(self, job: WorkerJob) -> Prepared | _NotPrepared:
        if job.has_ended:
            return _NotPrepared(job, None)
        if self._clock() >= job.deadline:
            return _NotPrepared(job, _expired(job))
        try:
            return self._preparer.prepare(job)
        except JobRefused as refused:
            return _NotPrepared(job, refused.failed)
        except Exception as error:
            exit_on_cuda_fault(error)
            log.error("preparation of %s failed: %s", _in_log(job.order), describe_error(error))
            failed = _failure(job, "preparation_failed", "The photo could not be processed.", "worker")
            return _NotPrepared(job, failed)

    def _start(self, prepared: Prepared) -> None:
        job = prepared.job
        if job.has_ended:
            return
        job.started, job.size = prepared.started, prepared.size
        if not prepared.rows:
            self._send(prepared.started)
            self._end(job, Done(job_id=job.order.job_id, timings=job.watch.timings(self._clock())))
            return
        engine = self._engines[prepared.rows[0].key.network]  # a refinement's, too
        for row in prepared.rows:
            engine.add(row)

    # ---- a tick and what comes of it

    def _tick(self, engine: Engine, bundle: Bundle) -> None:
        report = engine.tick()
        self._note_tick(report)
        for row in report.stepped:
            self._tell_step(row, report, bundle)
        for finished in report.finished:
            self._finish(finished)
        for row, reason in report.left:
            self._let_go(row, reason)

    def _note_tick(self, report: TickReport) -> None:
        if report.stepped:
            self._ticks.append(
                Tick(bucket=report.bucket, rows=len(report.stepped), seconds=report.step_ended - report.step_began)
            )

    def _tell_step(self, row: Row, report: TickReport, bundle: Bundle) -> None:
        job = self._jobs.find(row.job_id)
        if job is None:
            return
        if job.watch.first_step_began is None:
            job.watch.first_step_began = report.step_began
            assert job.started is not None
            self._send(job.started)
        job.watch.last_step_ended = report.step_ended
        step = Stepped(job_id=row.job_id, index=row.index, step=row.steps_made, steps=row.steps_wanted)
        pixels = _preview_pixels(row, bundle)
        if pixels is None:
            self._send(step)
        else:
            self._finishing.submit(self._send_preview, job, step, pixels)

    def _send_preview(self, job: WorkerJob, step: Stepped, pixels: torch.Tensor) -> None:
        """On the finishing thread. An unfinished picture shows no more than the finished one will."""
        picture = encode_preview(present(pixels, job.size, job.order.delivery.mark))
        self._send(msgspec.structs.replace(step, preview=picture))

    def _finish(self, finished: FinishedRow) -> None:
        job = self._jobs.find(finished.row.job_id)
        if job is not None:
            job.watch.decode += finished.decode_seconds
            self._jobs.begin_encoding(job, finished.row.index)
            self._finishing.submit(self._encode, job, finished)

    def _encode(self, job: WorkerJob, finished: FinishedRow) -> None:
        """On the finishing thread: whatever happens, one message for the inbox comes out."""
        began = self._clock()
        outcome = self._encoded(job, finished)
        self._inbox.put(_Encoded(job, finished.row.index, outcome, self._clock() - began))

    def _encoded(self, job: WorkerJob, finished: FinishedRow) -> Portrait | Failed:
        try:
            order, delivery = job.order, job.order.delivery
            pixels = present(finished.pixels, job.size, delivery.mark)
            data = encode_image(pixels, delivery.format, delivery.quality, self._encode_jpeg)
            return Portrait(
                job_id=order.job_id,
                index=finished.row.index,
                seed=finished.row.seed,
                format=delivery.format,
                width=pixels.shape[1],
                height=pixels.shape[0],
                data=data,
            )
        except Exception as error:
            log.error("encoding of %s failed: %s", _in_log(job.order), describe_error(error))
            return _failure(job, "encoding_failed", "The picture could not be encoded.", "worker")

    def _deliver(self, encoded: _Encoded) -> None:
        job = encoded.job
        if job.has_ended:
            return
        if isinstance(encoded.outcome, Failed):
            self._end(job, encoded.outcome)
            return
        job.watch.encode += encoded.seconds
        self._send(encoded.outcome)
        job.open_images.discard(encoded.index)
        if not job.open_images:
            self._end(job, Done(job_id=job.order.job_id, timings=job.watch.timings(self._clock())))

    def _let_go(self, row: Row, reason: Exit) -> None:
        job = self._jobs.find(row.job_id)
        if job is None:
            return
        match reason:
            case "cancelled":
                pass
            case "expired":
                self._end(job, _expired(job))
            case "not_finite":
                message = "The picture came out broken and was not sent. Another seed will do."
                self._end(job, _failure(job, "broken_picture", message, "worker"))
            case "failed":
                self._end(job, _failure(job, "engine_failed", "The engine failed on this job.", "worker"))
            case "out_of_memory":
                self._end(job, _failure(job, "out_of_memory", "The device is out of memory; try again.", "capacity"))

    # ---- ends

    def _cancel(self, job_id: str) -> None:
        """No end is sent for a cancelled job, but that it makes no more steps: messages are read between ticks."""
        if job := self._jobs.find(job_id):
            self._end(job, None)
        self._send(Dropped(job_id=job_id))

    def _end(self, job: WorkerJob, message: Done | Failed | None) -> None:
        """The one way out of the worker: the job is forgotten, its rows leave, its end is told once."""
        if job.has_ended:
            return
        job.has_ended = True
        self._jobs.remove(job)
        if not isinstance(message, Done):
            for engine in self._engines.values():
                engine.cancel(job.order.job_id)
        if message is not None:
            self._send(message)

    # ---- figures

    def _send_figures(self, bundle: Bundle) -> None:
        now = self._clock()
        if now < self._figures_due:
            return
        self._figures_due = now + FIGURES_SECONDS
        ticks, self._ticks = self._ticks, []
        on_gpu = bundle.device.type == "cuda"
        self._send(
            Figures(
                ticks=ticks,
                rows_running=sum(engine.num_running for engine in self._engines.values()),
                rows_waiting=sum(engine.num_waiting for engine in self._engines.values()),
                jobs_held=len(self._jobs),
                device_memory_bytes=torch.cuda.memory_allocated(bundle.device) if on_gpu else 0,
                peak_device_memory_bytes=torch.cuda.max_memory_allocated(bundle.device) if on_gpu else 0,
            )
        )

    def _send(self, message: FromWorker) -> None:
        with self._send_lock:
            self._send_unlocked(message)


def _preview_pixels(row: Row, bundle: Bundle) -> torch.Tensor | None:
    """[H, W, 3] uint8 of an unfinished row, where that is wanted and can be had: no job ends for want of it."""
    if row.clean is None or row.is_finished or bundle.preview_decoder is None:
        return None
    try:
        return bundle.preview_decoder.decode(row.clean[None])[0].cpu()
    except Exception as error:
        _note_fault(error)
        return None


def _compute_alone() -> None:
    """One torch thread for the calling thread."""
    torch.get_num_threads()  # else torch sets the process's number here before the first sum, and undoes the next line
    torch.set_num_threads(1)


def _note_fault(error: Exception) -> None:
    exit_on_cuda_fault(error)
    log.error("a fault on the device: %s", describe_error(error))


def _in_log(order: Order) -> str:
    """Ids alone: the job's, and its place in the caller's trace."""
    return f"job {order.job_id} (trace {order.traceparent or 'unknown'})"


def _speed(loaded: WorkerParts) -> SpeedInfo:
    denoisers = {id(stack.denoiser): stack.denoiser for stack in loaded.bundle.stacks.values()}
    return SpeedInfo(
        attention=loaded.bundle.attention,
        jpeg=loaded.jpeg.name,
        compile=loaded.speed.compile,
        fp8=loaded.speed.fp8,
        recordings=sum(denoiser.num_recordings for denoiser in denoisers.values()),
    )


def _failure(job: WorkerJob, code: str, message: str, fault: Fault) -> Failed:
    return Failed(job_id=job.order.job_id, code=code, message=message, fault=fault)


def _expired(job: WorkerJob) -> Failed:
    limit = job.order.deadline_seconds
    message = f"The deadline of {limit:.1f} s passed before the portraits were finished."
    return Failed(job_id=job.order.job_id, code="deadline_exceeded", message=message, fault="capacity", limit=limit)
