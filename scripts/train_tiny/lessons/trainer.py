"""The loop that all stages share: a time budget, a cosine, averaged weights, and a checkpoint to go on from."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from scripts.train_tiny.lessons.ranks import agree, average_gradients, begin_alike, join

WARM_UP_STEPS = 60
SAVE_SECONDS = 60.0
LOG_STEPS = 50
M = TypeVar("M", bound=nn.Module)


class Trainer:
    """Owns a model, its optimizer and its averaged weights. One thread; resumes where the checkpoint ends."""

    def __init__(
        self, name: str, model: nn.Module, folder: Path, *, rate: float, decay: float = 0.01, average: float = 0.996
    ) -> None:
        self._name = name
        self._rank = join()
        self._model = model
        self._path = folder / f"{name}.pt"
        self._rate = rate
        self._average = average
        begin_alike(model.state_dict().values())
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, rate, betas=(0.9, 0.98), weight_decay=decay, fused=True)
        self._averaged = {key: value.detach().clone() for key, value in model.state_dict().items()}
        self._step = 0
        self._seconds = 0.0
        if self._path.exists():
            self._resume()

    def run(self, loss_of: Callable[[int], dict[str, Tensor]], budget_seconds: float) -> None:
        """Train until the budget, counted over all runs, is used up. `loss_of(step)` returns terms to be summed.

        Seconds of this process's CPU time: a busy machine makes a stage longer, not worse.
        """
        started, saved = time.process_time() - self._seconds, time.monotonic()
        shown: dict[str, float] = {}
        while self._seconds < budget_seconds:
            rate = self._rate_at(self._seconds / budget_seconds)
            terms = loss_of(self._step)
            self._update(torch.stack(list(terms.values())).sum(), rate)
            self._seconds = agree(time.process_time() - started)
            for key, value in terms.items():
                shown[key] = 0.95 * shown.get(key, value.item()) + 0.05 * value.item()
            if self._step % LOG_STEPS == 0 and self._rank == 0:
                values = "  ".join(f"{key} {value:.4f}" for key, value in shown.items())
                print(
                    f"{self._name} {self._step} {self._seconds:.0f}/{budget_seconds:.0f}s {rate:.1e}  {values}",
                    flush=True,
                )
            if time.monotonic() - saved > SAVE_SECONDS:
                self._save()
                saved = time.monotonic()
        self._save()

    def averaged(self) -> nn.Module:
        """The model with its averaged weights in place of the last ones."""
        self._model.load_state_dict(self._averaged)
        return self._model.eval()

    def _rate_at(self, share: float) -> float:
        """Warm up, hold for a third of the budget, then a cosine to a fiftieth."""
        fall = max(0.0, (share - 0.33) / 0.67)
        return (
            self._rate
            * min(1.0, (self._step + 1) / WARM_UP_STEPS)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fall)))
        )

    def _update(self, loss: Tensor, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        loss.backward()
        average_gradients(self._parameters)
        nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()
        self._step += 1
        share = 1 - min(self._average, self._step / (self._step + 10))
        state = self._model.state_dict()
        numbers = [key for key, value in state.items() if value.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                [self._averaged[key] for key in numbers], [state[key] for key in numbers], share
            )

    def _save(self) -> None:
        if self._rank:
            return
        state = {
            "model": self._model.state_dict(), "averaged": self._averaged, "optimizer": self._optimizer.state_dict(),
            "step": self._step, "seconds": self._seconds,
        }  # fmt: skip
        _write(self._path, state)

    def _resume(self) -> None:
        state = torch.load(self._path, weights_only=True)
        self._model.load_state_dict(state["model"])
        self._averaged = state["averaged"]
        if state["optimizer"] is not None:
            self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._seconds = state["step"], state["seconds"]


def write_start(name: str, model: nn.Module, folder: Path) -> None:
    """A checkpoint from which training begins at step 0 with `model`'s weights."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = model.state_dict()
    _write(folder / f"{name}.pt", {"model": weights, "averaged": weights, "optimizer": None, "step": 0, "seconds": 0.0})


def seeded(stage: int, folder: Path, name: str, rank: int = 0) -> tuple[np.random.Generator, torch.Generator]:
    """Random numbers of a stage; torch's own are seeded too. A resumed stage draws other batches than it began with."""
    path = folder / f"{name}.pt"
    made = torch.load(path, weights_only=True)["step"] if path.exists() else 0
    seeds = np.random.SeedSequence([stage, rank, made]).generate_state(2)
    torch.manual_seed(int(seeds[0]))
    return np.random.default_rng([stage, rank, made]), torch.Generator().manual_seed(int(seeds[1]))


def _write(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def channels_last(model: M) -> M:
    """In place. Convolutions are faster on a CPU in this layout, in bfloat16 more than twice."""
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def averaged_state(folder: Path, name: str) -> dict[str, Tensor]:
    """The averaged weights of a stage's last checkpoint."""
    return torch.load(folder / f"{name}.pt", weights_only=True)["averaged"]
