"""The loop over rows: let leave, step, retire, hand out. It knows tensors and numbers, and no network by name."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from models.engine.decoding import Decoding, StartDecoding, decoding_on
from models.engine.rows import Row, noise
from models.engine.scheduler import Scheduler
from models.sdxl.conditioning import RowConditioning
from models.sdxl.lora_choice import LoraChoice


class Denoises(Protocol):
    device: torch.device

    def predict(
        self,
        latents: Tensor,
        timesteps: Tensor,
        rows: Sequence[tuple[RowConditioning, int]],
        guidance: Tensor | None = None,
        lora: LoraChoice | None = None,
    ) -> Tensor: ...


class Decodes(Protocol):
    def decode(self, latents: Tensor) -> Tensor: ...

    def resized(self, latents: Tensor, width: int, height: int) -> Tensor: ...


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


Exit = Literal["cancelled", "expired", "not_a_number"]


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


class Engine:
    """Runs rows in batches, one denoising step a tick. Not thread-safe: one thread adds, cancels and ticks."""

    def __init__(
        self,
        denoiser: Denoises,
        decoder: Decodes,
        *,
        buckets: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
        draw_noise: Callable[[int, int, tuple[int, ...], torch.device], Tensor] = noise,
        policy: Policy | None = None,
        start_decoding: StartDecoding | None = None,
    ) -> None:
        """`buckets` are the batch sizes that the network may see, ascending; a batch is padded up to the next.

        `draw_noise` is given a row's seed, which of its draws it is, the shape and the device. `policy` is there to
        compare ours with others. Engines with one decoder share one `start_decoding`.
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
        self._at_stake: list[Row] = []  # what the tick under way would lose if it failed

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

    def add(self, row: Row) -> None:
        """The row joins at the next tick of its key that has room."""
        self._scheduler.add(row)
        self._next_deadline = min(self._next_deadline, row.deadline)

    def cancel(self, job_id: str) -> None:
        """The job's rows leave at the next tick."""
        self._cancelled.add(job_id)

    def abandon_batch(self) -> list[Row]:
        """After a tick that raised: take out the rows it ran on and return them, finished ones too: they were not
        reported. Pictures of earlier ticks that are still being decoded stay."""
        lost, self._at_stake = self._at_stake, []
        failed = {id(row) for row in lost}
        self._scheduler.remove(lambda row: id(row) in failed)
        self._decoding = deque(entry for entry in self._decoding if id(entry[0]) not in failed)
        return lost

    def tick(self) -> TickReport:
        """Rows leave, the next batch makes one step, finished rows begin to be decoded, and what is decoded is
        handed out. A tick waits for a picture only if there is nothing to step."""
        report = TickReport(left=self._let_leave())
        batch = self._scheduler.next_batch()
        if batch:
            self._at_stake = list(batch)
            report.step_began = self._clock()
            report.bucket = self._step(batch)
            report.step_ended = self._clock()
            report.stepped = batch
            self._retire(report)
        self._hand_out(report, at_least=0 if batch else 1)
        self._at_stake = []
        return report

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

    @torch.inference_mode()
    def _step(self, batch: list[Row]) -> int:
        """x' = a*x + b*m + c*z for every row; returns the bucket that ran."""
        bucket = next(size for size in self._buckets if size >= len(batch))
        padded = [*batch, *[batch[-1]] * (bucket - len(batch))]
        device = self._denoiser.device
        latents = torch.stack([row.latent for row in padded])  # [bucket, C, h, w]
        timesteps = torch.tensor([row.now.t for row in padded], device=device)
        key = batch[0].key
        guidance = torch.tensor([row.guidance for row in padded], device=device) if key.guided else None
        steered = [(row.conditioning, row.step) for row in padded]
        predicted = self._denoiser.predict(latents, timesteps, steered, guidance, key.lora)
        for row, latent, m in zip(batch, latents, predicted, strict=False):  # the padding stays behind
            self._advance(row, latent, m)
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # a step's end is when it is computed, not when asked for
        return bucket

    def _advance(self, row: Row, x: Tensor, m: Tensor) -> None:
        step = row.now
        moved = step.a * x + step.b * m
        if step.c:
            moved = moved + step.c * self._draw_noise(row.seed, row.next_draw, tuple(x.shape), x.device)
        if row.wants_previews:
            of_x, of_m = step.clean
            row.clean = of_x * x + of_m * m
        row.latent = moved
        row.step += 1

    def _retire(self, report: TickReport) -> None:
        """Begin to decode what is finished, one picture at a time: a row's pixels never depend on who finished beside
        it. A row with a refinement makes place for the row that it goes on as.
        """
        finished = [row for row in report.stepped if row.is_finished]
        self._scheduler.release(finished)
        for row in finished:
            if not bool(torch.isfinite(row.latent).all()):  # a black picture is never sent
                report.left.append((row, "not_a_number"))
                continue
            if row.refinement is not None:
                self.add(self._refined(row))
                continue
            self._decoding.append((row, self._start_decoding(row.latent)))

    def _hand_out(self, report: TickReport, at_least: int) -> None:
        """What is decoded, in the order in which it was finished; waits for `at_least` as many, if there are any.

        More than a batch never piles up: steps then wait for the pictures of those before them.
        """
        at_least = max(at_least, len(self._decoding) - self._buckets[-1])
        while self._decoding and (len(report.finished) < at_least or self._decoding[0][1].is_done):
            row, decoding = self._decoding.popleft()
            self._at_stake.append(row)
            report.finished.append(Finished(row, decoding.pixels(), decoding.seconds))

    def _refined(self, row: Row) -> Row:
        """The row that a finished one goes on as, its picture enlarged if the next key is larger."""
        assert row.refinement is not None
        key, picture = row.refinement.key, row.latent
        if (key.width, key.height) != (row.key.width, row.key.height):
            picture = self._decoder.resized(picture[None], key.width, key.height)[0]
        veil = self._draw_noise(row.seed, row.next_draw, tuple(picture.shape), picture.device)
        return row.refined(picture, veil)
