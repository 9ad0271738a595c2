"""The denoising loop over rows: remove, step, decode, report. It knows tensors and numbers, but no backbone."""

import gc
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Literal, Protocol

import torch
from torch import Tensor

from models.engine.backbone import C, Decodes, Denoises
from models.engine.decoding import Decoding, StartDecoding, decoding_on
from models.engine.rows import Row, noise
from models.engine.scheduler import Scheduler


class Policy(Protocol):
    """Chooses the rows that run next; `Scheduler` documents the methods."""

    @property
    def num_running(self) -> int: ...

    @property
    def num_waiting(self) -> int: ...

    def add(self, row: Row) -> None: ...

    def next_batch(self) -> list[Row]: ...

    def release(self, rows: Sequence[Row]) -> None: ...

    def remove(self, leaves: Callable[[Row], bool]) -> list[Row]: ...

    def __iter__(self) -> Iterator[Row]: ...

    def discrepancies(self) -> Iterator[str]: ...


Fault = Literal["failed", "out_of_memory"]
Exit = Literal["cancelled", "expired", "not_finite"] | Fault


@dataclass(frozen=True, slots=True)
class FinishedRow:
    row: Row
    pixels: Tensor  # [H, W, 3] uint8
    decode_seconds: float


@dataclass(slots=True)
class TickReport:
    """What one tick did. Rows in `left` ended without a picture; a row is in at most one of `left` and `finished`."""

    bucket: int = 0
    stepped: list[Row] = field(default_factory=list)
    finished: list[FinishedRow] = field(default_factory=list)
    left: list[tuple[Row, Exit]] = field(default_factory=list)
    step_began: float = 0.0  # on the engine's clock
    step_ended: float = 0.0


class BooksError(RuntimeError):
    """The engine's rows and its bookkeeping disagree: a bug of ours. The message has no content of a row."""


class Engine(Generic[C]):
    """Runs rows in batches, one denoising step a tick. Not thread-safe: one thread adds, cancels and ticks."""

    def __init__(
        self,
        denoiser: Denoises[C],
        decoder: Decodes,
        *,
        buckets: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
        draw_noise: Callable[[int, int, tuple[int, ...], torch.device], Tensor] = noise,
        policy: Policy | None = None,
        start_decoding: StartDecoding | None = None,
        on_fault: Callable[[Exception], None] | None = None,
    ) -> None:
        """`buckets` are the batch sizes that the network may see, ascending; a batch is padded up to the next.

        `draw_noise` gets a row's seed, the number of the draw, the shape and the device. `policy` replaces the
        scheduler, for comparisons. Engines with one decoder share one `start_decoding`. `on_fault` receives errors of
        the device or the networks, which then end only the rows that cause them; without it they are raised.
        """
        if list(buckets) != sorted(set(buckets)) or not buckets or buckets[0] < 1:
            raise ValueError(f"buckets {list(buckets)}: ascending positive batch sizes are needed")
        self._denoiser = denoiser
        self._decoder = decoder
        self._buckets = tuple(buckets)
        self._clock = clock
        self._draw_noise = draw_noise
        self._scheduler: Policy = policy or Scheduler(max_rows=self._buckets[-1])
        self._start_decoding = start_decoding or decoding_on(denoiser.device, decoder)
        self._decoding: deque[tuple[Row, Decoding]] = deque()  # finished rows, in the order in which they are reported
        self._cancelled: set[str] = set()
        self._next_deadline = math.inf  # no row's deadline is earlier
        self._num_owed = 0  # rows that were added and have not been reported as finished or left
        self._on_fault = on_fault

    @property
    def has_work(self) -> bool:
        return self.num_rows > 0

    @property
    def num_running(self) -> int:
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        return self._scheduler.num_waiting

    @property
    def num_rows(self) -> int:
        return self.num_running + self.num_waiting + len(self._decoding)

    def rows(self) -> list[Row[C]]:
        """Those that are here to stay: cancelled ones leave at the next tick."""
        return [row for row in self._all_rows() if row.job_id not in self._cancelled]

    def _all_rows(self) -> list[Row[C]]:
        return [*self._scheduler, *(row for row, _ in self._decoding)]

    def add(self, row: Row[C]) -> None:
        """Queue a row; it joins at the next tick of its key that has room."""
        self._num_owed += 1
        self._enqueue(row)

    def _enqueue(self, row: Row[C]) -> None:
        self._scheduler.add(row)
        self._next_deadline = min(self._next_deadline, row.deadline)

    def cancel(self, job_id: str) -> None:
        """Remove the job's rows at the next tick."""
        if self.has_work:
            self._cancelled.add(job_id)

    def tick(self) -> TickReport:
        """Remove cancelled and expired rows, step the next batch once, start decoding the finished rows and report the
        pictures that are ready. Waits for a picture only if there is nothing to step."""
        report = TickReport(left=self._remove_leaving())
        batch = self._scheduler.next_batch()
        if batch:
            report.step_began = self._clock()
            self._step_isolating_faults(batch, report)
            report.step_ended = self._clock()
            self._finish_rows(report)
        self._collect_pictures(report, at_least=0 if batch else 1)
        self._num_owed -= len(report.finished) + len(report.left)
        return report

    def check_books(self) -> None:
        """Check that every row that was added is here once or has been reported, and that all counts agree.

        May be called between ticks; looks at every row. Raises BooksError.
        """
        if wrong := [*self._scheduler.discrepancies(), *self._discrepancies()]:
            raise BooksError("; ".join(wrong))

    def _discrepancies(self) -> Iterator[str]:
        scheduled, decoding = list(self._scheduler), [row for row, _ in self._decoding]
        rows = [*scheduled, *decoding]
        if len(rows) != len({id(row) for row in rows}):
            yield "a row is here twice"
        if not len(rows) == self.num_rows == self._num_owed:
            yield f"{len(rows)} rows are here, {self.num_rows} are counted and {self._num_owed} are owed"
        if any(row.is_finished for row in scheduled) or not all(row.is_finished for row in decoding):
            yield "a finished row is to be stepped, or an unfinished one decoded"
        if len(decoding) > self._buckets[-1]:
            yield f"{len(decoding)} pictures wait where {self._buckets[-1]} may"
        if any(row.deadline < self._next_deadline for row in rows):
            yield "a row's deadline is before the next that will be looked at"
        if self._cancelled and not rows:
            yield f"{len(self._cancelled)} cancelled jobs are remembered and no row is left"

    def _remove_leaving(self) -> list[tuple[Row, Exit]]:
        now = self._clock()
        cancelled = self._remove(lambda row: row.job_id in self._cancelled) if self._cancelled else []
        expired = self._remove(lambda row: now >= row.deadline) if now >= self._next_deadline else []
        if now >= self._next_deadline:
            self._next_deadline = min((row.deadline for row in self._all_rows()), default=math.inf)
        self._cancelled.clear()
        return [*((row, "cancelled") for row in cancelled), *((row, "expired") for row in expired)]

    def _remove(self, leaves: Callable[[Row], bool]) -> list[Row]:
        """Remove rows for which `leaves` is true, also those being decoded, whose pictures are dropped."""
        dropped = [row for row, _ in self._decoding if leaves(row)]
        if dropped:
            self._decoding = deque(entry for entry in self._decoding if not leaves(entry[0]))
        return [*self._scheduler.remove(leaves), *dropped]

    def _step_isolating_faults(self, rows: list[Row], report: TickReport) -> None:
        """Step the rows once. A batch that fails is halved until the row at fault is alone, so that it costs no other
        row its picture; a batch that is too large for the memory is then run in parts."""
        fault = self._attempt(partial(self._step, rows, report))
        if fault is None:
            return
        if len(rows) == 1:
            self._scheduler.release(rows)
            report.left.append((rows[0], fault))
            return
        half = len(rows) // 2
        self._step_isolating_faults(rows[:half], report)
        self._step_isolating_faults(rows[half:], report)

    def _attempt(self, work: Callable[[], None]) -> Fault | None:
        """Run `work` and return the kind of its error, if any; `work` must leave everything unchanged when it fails."""
        try:
            work()
            return None
        except Exception as error:
            if self._on_fault is None:
                raise
            self._on_fault(error)
            fault: Fault = "out_of_memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
        if fault == "out_of_memory":
            gc.collect()  # outside of `except`, where the traceback would still hold the attempt's tensors
            torch.cuda.empty_cache()
        return fault

    @torch.inference_mode()
    def _step(self, batch: list[Row], report: TickReport) -> None:
        """Apply x' = a*x + b*m + c*z to every row, or to none if anything fails."""
        bucket = next(size for size in self._buckets if size >= len(batch))
        padded = [*batch, *[batch[-1]] * (bucket - len(batch))]
        device = self._denoiser.device
        latents = torch.stack([row.latent for row in padded])  # [bucket, C, h, w]
        timesteps = torch.tensor([row.now.t for row in padded], device=device)
        key = batch[0].key
        guidance = torch.tensor([row.guidance for row in padded], device=device) if key.guided else None
        steered = [(row.conditioning, row.step) for row in padded]
        predicted = self._denoiser.predict(latents, timesteps, steered, guidance, key.variant)
        pairs = zip(batch, latents, predicted, strict=False)  # without the padding
        ahead = [self._advance(row, x, m) for row, x, m in pairs]
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # a step ends when it is computed, not when it is launched
        for row, (latent, clean) in zip(batch, ahead, strict=True):
            row.latent, row.clean, row.step = latent, clean, row.step + 1
        report.stepped += batch
        report.bucket = max(report.bucket, bucket)

    def _advance(self, row: Row, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor | None]:
        """The row's next latent, and the present guess of the clean latent if previews are wanted."""
        step = row.now
        moved = step.a * x + step.b * m
        if step.c:
            moved = moved + step.c * self._draw_noise(row.seed, row.next_draw, tuple(x.shape), x.device)
        of_x, of_m = step.clean
        return moved, of_x * x + of_m * m if row.wants_previews else None

    def _finish_rows(self, report: TickReport) -> None:
        """Start decoding finished rows, one picture at a time, so that a row's pixels never depend on the others that
        finish with it. A row with a refinement is replaced by the row that continues it.
        """
        finished = [row for row in report.stepped if row.is_finished]
        self._scheduler.release(finished)
        for row in finished:
            if not bool(torch.isfinite(row.latent).all()):  # a black picture is never sent
                report.left.append((row, "not_finite"))
            elif fault := self._attempt(partial(self._decode_or_refine, row)):
                report.left.append((row, fault))

    def _decode_or_refine(self, row: Row) -> None:
        if row.refinement is not None:
            self._enqueue(self._refined(row))
        else:
            self._decoding.append((row, self._start_decoding(row.latent)))

    def _collect_pictures(self, report: TickReport, at_least: int) -> None:
        """Report decoded pictures in the order in which their rows finished; wait for `at_least` of them.

        No more than a batch is ever pending: beyond that, steps wait for earlier pictures.
        """
        at_least = max(at_least, len(self._decoding) - self._buckets[-1])
        while self._decoding and (len(report.finished) < at_least or self._decoding[0][1].is_done):
            row, decoding = self._decoding.popleft()
            if fault := self._attempt(partial(_report_finished, row, decoding, report)):
                report.left.append((row, fault))

    def _refined(self, row: Row) -> Row:
        """The row that continues a finished one, with its picture enlarged if the next key is larger."""
        assert row.refinement is not None
        key, picture = row.refinement.key, row.latent
        if (key.width, key.height) != (row.key.width, row.key.height):
            picture = self._decoder.resized(picture[None], key.width, key.height)[0]
        fresh = self._draw_noise(row.seed, row.next_draw, tuple(picture.shape), picture.device)
        return row.refined(picture, fresh)


def _report_finished(row: Row, decoding: Decoding, report: TickReport) -> None:
    report.finished.append(FinishedRow(row, decoding.pixels(), decoding.seconds))
