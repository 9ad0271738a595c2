"""One command from nothing to a bundle: `python -m scripts.train_tiny`. Every stage goes on where it was stopped.

Stages: render, landmarks, recogniser, vae, decoder, text, cache, generator, export, sheet. `--scale 1` is about two
hours of one free CPU core; more makes a better bundle. Needs the `train` extra; no GPU, no network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import torch

from scripts.train_tiny.cache import write_cache
from scripts.train_tiny.contact import contact_sheet
from scripts.train_tiny.export import export_bundle, export_faces
from scripts.train_tiny.generator import train_generator
from scripts.train_tiny.landmarks import train_landmarks
from scripts.train_tiny.recogniser import train_recogniser
from scripts.train_tiny.scores import score
from scripts.train_tiny.shards import write_shards
from scripts.train_tiny.text import train_tokenizers
from scripts.train_tiny.vae import train_decoder, train_vae

SEED = 20261120
HELD_OUT = 90_000  # number of the shard that nothing is trained on
TARGET = Path(__file__).resolve().parents[2] / "models" / "weights" / "tiny"


@dataclass(frozen=True, slots=True)
class Plan:
    """Where things are and how long each stage may take."""

    work: Path
    target: Path
    scale: float

    @property
    def shards(self) -> Path:
        return self.work / "shards"

    @property
    def checkpoints(self) -> Path:
        return self.work / "checkpoints"

    def render(self) -> None:
        write_shards(self.work / "heldout", HELD_OUT, HELD_OUT + 1, SEED)
        write_shards(self.shards, 0, round(24 * self.scale), SEED)

    def landmarks(self) -> None:
        train_landmarks(self.shards, self.checkpoints, 240 * self.scale)

    def recogniser(self) -> None:
        train_recogniser(self.shards, self.checkpoints, 600 * self.scale)

    def vae(self) -> None:
        train_vae(self.shards, self.checkpoints, 660 * self.scale)

    def decoder(self) -> None:
        train_decoder(self.shards, self.checkpoints, 420 * self.scale)

    def text(self) -> None:
        train_tokenizers(self.work / "text")

    def cache(self) -> None:
        write_cache(self.shards, self.checkpoints, self.work / "cache")

    def generator(self) -> None:
        train_generator(self.shards, self.work / "cache", self.work / "text", self.checkpoints, 4200 * self.scale)

    def export(self) -> None:
        export_faces(self.checkpoints, self.target)
        export_bundle(self.work / "text", self.checkpoints, self.target)

    def sheet(self) -> None:
        contact_sheet(self.target, self.work / "heldout", self.work / "sheet.png")
        print(score(self.target, self.work / "heldout", self.checkpoints))


STAGES: dict[str, Callable[[Plan], None]] = {
    name: getattr(Plan, name)
    for name in (
        "render", "landmarks", "recogniser", "vae", "decoder", "text", "cache", "generator", "export", "sheet",
    )
}  # fmt: skip


@click.command(help=__doc__)
@click.argument("stages", nargs=-1, type=click.Choice(list(STAGES)))
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/tiny"), show_default=True)
@click.option("--target", type=click.Path(path_type=Path), default=TARGET, help="Where the bundle goes.")
@click.option("--scale", default=1.0, show_default=True, help="Multiplies the time of every stage.")
@click.option("--threads", default=1, show_default=True, help="One per process spends the least CPU time per step.")
def main(stages: tuple[str, ...], work: Path, target: Path, scale: float, threads: int) -> None:
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    plan = Plan(work, target, scale)
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    for name in stages or STAGES:
        print(f"stage {name}", flush=True)
        STAGES[name](plan)


if __name__ == "__main__":
    main()
