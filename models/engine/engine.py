"""The loop over rows: let leave, step, retire, hand out. It knows tensors and numbers, and no backbone."""

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
    """Which rows run next; `Scheduler` says what each of these does."""

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
class Finished:
    row: Row
    pixels: Tensor  # [H, W, 3] uint8
    decode_seconds: float


@dataclass(slots=True)
class TickReport:
    """What one tick did. `left` went without a picture; each row is in at most one of `left` and `finished`."""

    bucket: int = 0
    stepped: list[Row] = field(default_factory=list)
    finished: list[Finished] = field(default_factory=list)
    left: list[tuple[Row, Exit]] = field(default_factory=list)
    step_began: float = 0.0  # on the engine's clock
    step_ended: float = 0.0


class BooksError(RuntimeError):
    """An engine's rows and its account of them differ: a bug of ours. Says how, and nothing of a row's content."""


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

        `draw_noise` is given a row's seed, which of its draws it is, the shape and the device. `policy` is there to
        compare ours with others. Engines with one decoder share one `start_decoding`. With `on_fault` an error of the
        device or the networks is told to it, and costs the rows that are at fault and no others; without, it is raised.
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
        self._decoding: deque[tuple[Row, Decoding]] = deque()  # finished rows, first come, first handed out
        self._cancelled: set[str] = set()
        self._next_deadline = math.inf  # before it nobody's has passed
        self._num_owed = 0  # rows that were added and not reported as finished or left
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

    def add(self, row: Row[C]) -> None:
        """The row joins at the next tick of its key that has room."""
        self._num_owed += 1
        self._enqueue(row)

    def _enqueue(self, row: Row[C]) -> None:
        self._scheduler.add(row)
        self._next_deadline = min(self._next_deadline, row.deadline)

    def cancel(self, job_id: str) -> None:
        """The job's rows leave at the next tick."""
        if self.has_work:
            self._cancelled.add(job_id)

    def tick(self) -> TickReport:
        """Rows leave, the next batch makes one step, finished rows begin to be decoded, and what is decoded is
        handed out. A tick waits for a picture only if there is nothing to step."""
        report = TickReport(left=self._let_leave())
        batch = self._scheduler.next_batch()
        if batch:
            report.step_began = self._clock()
            self._step_without_the_faulty(batch, report)
            report.step_ended = self._clock()
            self._retire(report)
        self._hand_out(report, at_least=0 if batch else 1)
        self._num_owed -= len(report.finished) + len(report.left)
        return report

    def check_books(self) -> None:
        """Every row that was added is here once or has been reported, and what is kept about rows fits them.

        Between ticks, at any time; it looks at every row. Raises BooksError.
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

    def _let_leave(self) -> list[tuple[Row, Exit]]:
        now = self._clock()
        cancelled = self._remove(lambda row: row.job_id in self._cancelled) if self._cancelled else []
        expired = self._remove(lambda row: now >= row.deadline) if now >= self._next_deadline else []
        if now >= self._next_deadline:
            rows = (*self._scheduler, *(row for row, _ in self._decoding))
            self._next_deadline = min((row.deadline for row in rows), default=math.inf)
        self._cancelled.clear()
        return [*((row, "cancelled") for row in cancelled), *((row, "expired") for row in expired)]

    def _remove(self, leaves: Callable[[Row], bool]) -> list[Row]:
        """Those that are being decoded, too: what the device makes of them is dropped."""
        dropped = [row for row, _ in self._decoding if leaves(row)]
        if dropped:
            self._decoding = deque(entry for entry in self._decoding if not leaves(entry[0]))
        return [*self._scheduler.remove(leaves), *dropped]

    def _step_without_the_faulty(self, rows: list[Row], report: TickReport) -> None:
        """One step. A batch that fails is halved, until whoever is at fault is alone with it: one picture costs no
        mate theirs, and what is too much for the memory at once goes in parts."""
        fault = self._attempt(partial(self._step, rows, report))
        if fault is None:
            return
        if len(rows) == 1:
            self._scheduler.release(rows)
            report.left.append((rows[0], fault))
            return
        half = len(rows) // 2
        self._step_without_the_faulty(rows[:half], report)
        self._step_without_the_faulty(rows[half:], report)

    def _attempt(self, work: Callable[[], None]) -> Fault | None:
        """What went wrong, if anything did; `work` must then have changed nothing."""
        try:
            work()
            return None
        except Exception as error:
            if self._on_fault is None:
                raise
            self._on_fault(error)
            fault: Fault = "out_of_memory" if isinstance(error, torch.OutOfMemoryError) else "failed"
        gc.collect()  # out here the error is gone, whose traceback held the tensors of the attempt
        if fault == "out_of_memory":
            torch.cuda.empty_cache()
        return fault

    @torch.inference_mode()
    def _step(self, batch: list[Row], report: TickReport) -> None:
        """x' = a*x + b*m + c*z for every row, or for none if anything fails."""
        bucket = next(size for size in self._buckets if size >= len(batch))
        padded = [*batch, *[batch[-1]] * (bucket - len(batch))]
        device = self._denoiser.device
        latents = torch.stack([row.latent for row in padded])  # [bucket, C, h, w]
        timesteps = torch.tensor([row.now.t for row in padded], device=device)
        key = batch[0].key
        guidance = torch.tensor([row.guidance for row in padded], device=device) if key.guided else None
        steered = [(row.conditioning, row.step) for row in padded]
        predicted = self._denoiser.predict(latents, timesteps, steered, guidance, key.variant)
        pairs = zip(batch, latents, predicted, strict=False)  # the padding stays behind
        ahead = [self._ahead(row, x, m) for row, x, m in pairs]
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # a step's end is when it is computed, not when asked for
        for row, (latent, clean) in zip(batch, ahead, strict=True):
            row.latent, row.clean, row.step = latent, clean, row.step + 1
        report.stepped += batch
        report.bucket = max(report.bucket, bucket)

    def _ahead(self, row: Row, x: Tensor, m: Tensor) -> tuple[Tensor, Tensor | None]:
        """A row's next latent, and what it shows now, where that is wanted."""
        step = row.now
        moved = step.a * x + step.b * m
        if step.c:
            moved = moved + step.c * self._draw_noise(row.seed, row.next_draw, tuple(x.shape), x.device)
        of_x, of_m = step.clean
        return moved, of_x * x + of_m * m if row.wants_previews else None

    def _retire(self, report: TickReport) -> None:
        """Begin to decode what is finished, one picture at a time: a row's pixels never depend on who finished beside
        it. A row with a refinement makes place for the row that it goes on as.
        """
        finished = [row for row in report.stepped if row.is_finished]
        self._scheduler.release(finished)
        for row in finished:
            if not bool(torch.isfinite(row.latent).all()):  # a black picture is never sent
                report.left.append((row, "not_finite"))
            elif fault := self._attempt(partial(self._go_on, row)):
                report.left.append((row, fault))

    def _go_on(self, row: Row) -> None:
        if row.refinement is not None:
            self._enqueue(self._refined(row))
        else:
            self._decoding.append((row, self._start_decoding(row.latent)))

    def _hand_out(self, report: TickReport, at_least: int) -> None:
        """What is decoded, in the order in which it was finished; waits for `at_least` as many, if there are any.

        More than a batch never piles up: steps then wait for the pictures of those before them.
        """
        at_least = max(at_least, len(self._decoding) - self._buckets[-1])
        while self._decoding and (len(report.finished) < at_least or self._decoding[0][1].is_done):
            row, decoding = self._decoding.popleft()
            if fault := self._attempt(partial(_deliver, row, decoding, report)):
                report.left.append((row, fault))

    def _refined(self, row: Row) -> Row:
        """The row that a finished one goes on as, its picture enlarged if the next key is larger."""
        assert row.refinement is not None
        key, picture = row.refinement.key, row.latent
        if (key.width, key.height) != (row.key.width, row.key.height):
            picture = self._decoder.resized(picture[None], key.width, key.height)[0]
        fresh = self._draw_noise(row.seed, row.next_draw, tuple(picture.shape), picture.device)
        return row.refined(picture, fresh)


def _deliver(row: Row, decoding: Decoding, report: TickReport) -> None:
    report.finished.append(Finished(row, decoding.pixels(), decoding.seconds))
