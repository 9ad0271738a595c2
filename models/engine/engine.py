"""The loop over rows: let leave, step, retire. It knows tensors and numbers, and no network by name."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

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

    def remove(self, leaves: Callable[[Row], bool]) -> list[Row]: ...


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
    step_began: float = 0.0  # on the engine's clock; decoding comes after `step_ended`
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
    ) -> None:
        """`buckets` are the batch sizes that the network may see, ascending; a batch is padded up to the next.

        `draw_noise` is given a row's seed, which of its draws it is, the shape and the device. `policy` is there to
        compare ours with others.
        """
        if list(buckets) != sorted(set(buckets)) or not buckets or buckets[0] < 1:
            raise ValueError(f"buckets {list(buckets)}: ascending positive batch sizes are needed")
        self._denoiser = denoiser
        self._decoder = decoder
        self._buckets = tuple(buckets)
        self._clock = clock
        self._draw_noise = draw_noise
        self._scheduler: Policy = policy or Scheduler(max_rows=self._buckets[-1])
        self._cancelled: set[str] = set()
        self._batch: list[Row] = []  # of the tick under way or just made

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
        return self.num_running + self.num_waiting

    def add(self, row: Row) -> None:
        """The row joins at the next tick of its key that has room."""
        self._scheduler.add(row)

    def cancel(self, job_id: str) -> None:
        """The job's rows leave at the next tick."""
        self._cancelled.add(job_id)

    def abandon_batch(self) -> list[Row]:
        """After a tick that raised: take out the rows it ran on and return them, finished ones too: they were not
        reported."""
        failed = {id(row) for row in self._batch}
        self._scheduler.remove(lambda row: id(row) in failed)
        return self._batch

    def tick(self) -> TickReport:
        """Rows leave, the next batch makes one step, finished rows become pixels."""
        report = TickReport(left=self._let_leave())
        batch = self._batch = self._scheduler.next_batch()
        if not batch:
            return report
        report.step_began = self._clock()
        report.bucket = self._step(batch)
        report.step_ended = self._clock()
        report.stepped = batch
        self._retire(report)
        return report

    def _let_leave(self) -> list[tuple[Row, Exit]]:
        now = self._clock()
        cancelled = self._scheduler.remove(lambda row: row.job_id in self._cancelled)
        expired = self._scheduler.remove(lambda row: now >= row.deadline)
        self._cancelled.clear()
        return [*((row, "cancelled") for row in cancelled), *((row, "expired") for row in expired)]

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
        """Decode what is finished, one picture at a time: a row's pixels never depend on who finished beside it.

        A row with a refinement makes place for the row that it goes on as.
        """
        for row in self._scheduler.remove(lambda row: row.is_finished):
            started = self._clock()
            if not bool(torch.isfinite(row.latent).all()):  # the tick's one sync; a black picture is never sent
                report.left.append((row, "not_a_number"))
                continue
            if row.refinement is not None:
                self.add(self._refined(row))
                continue
            pixels = self._decoder.decode(row.latent[None])[0].cpu()
            report.finished.append(Finished(row, pixels, self._clock() - started))

    def _refined(self, row: Row) -> Row:
        """The row that a finished one goes on as, its picture enlarged if the next key is larger."""
        assert row.refinement is not None
        key, picture = row.refinement.key, row.latent
        if (key.width, key.height) != (row.key.width, row.key.height):
            picture = self._decoder.resized(picture[None], key.width, key.height)[0]
        veil = self._draw_noise(row.seed, row.next_draw, tuple(picture.shape), picture.device)
        return row.refined(picture, veil)
