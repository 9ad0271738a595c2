"""One command from nothing to a bundle: `python -m scripts.train_tiny`. Every stage goes on where it was stopped.

Without STAGES the whole recipe runs on --processes CPU cores: in under 150 minutes on two (129 of CPU time, 148 by the
clock when it was last run whole), less on more. Budgets are in seconds of CPU time; `--scale 2` trains twice as long,
and the same command again with a larger scale goes on from the checkpoints, so that more hours make a better bundle.
`restore` makes checkpoints of a published bundle, to go on from.
Needs the `train` extra; no GPU, no network.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import torch

from scripts.train_tiny import crew, restore
from scripts.train_tiny.drawing.shards import write_shards
from scripts.train_tiny.judging.contact import contact_sheet
from scripts.train_tiny.judging.judges import export_judges, train_likeness, train_style
from scripts.train_tiny.lessons.cache import write_faces, write_latents, write_posed
from scripts.train_tiny.lessons.discriminator import sharpen_decoder
from scripts.train_tiny.lessons.export import export_bundle, export_faces
from scripts.train_tiny.lessons.finder import train_finder
from scripts.train_tiny.lessons.imitate import train_imitation
from scripts.train_tiny.lessons.landmarks import train_landmarks
from scripts.train_tiny.lessons.polish import train_polish
from scripts.train_tiny.lessons.ranks import place
from scripts.train_tiny.lessons.reader import train_reader
from scripts.train_tiny.lessons.recogniser import train_recogniser
from scripts.train_tiny.lessons.teach import train_generator
from scripts.train_tiny.lessons.text import train_tokenizers
from scripts.train_tiny.lessons.tower import train_tower
from scripts.train_tiny.lessons.vae import train_decoder, train_vae

SEED = 20261121
SHARDS = 60  # of 200 people each
HELD_OUT = 90_000  # number of the shard that nothing is trained on
TARGET = Path(__file__).resolve().parents[2] / "models" / "weights" / "tiny"


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Where things are and how long each stage may take, in seconds of one process's CPU time."""

    work: Path
    target: Path
    scale: float

    @property
    def shards(self) -> Path:
        return self.work / "shards"

    @property
    def checkpoints(self) -> Path:
        return self.work / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.work / "cache"

    @property
    def text_folder(self) -> Path:
        return self.work / "text"

    def render(self) -> None:
        rank, ranks = place()
        if rank == 0:
            write_shards(self.work / "heldout", [HELD_OUT], SEED)
        write_shards(self.shards, range(rank, round(SHARDS * max(self.scale, 0.1)), ranks), SEED)

    def restore(self) -> None:
        restore.restore_recogniser(self.target, self.shards, self.checkpoints)
        restore.restore_style_judge(self.target, self.shards, self.checkpoints)
        restore.restore_autoencoder(self.target, self.checkpoints)
        restore.restore_tower(self.target, self.checkpoints)
        restore.restore_generator(self.target, self.text_folder, self.checkpoints)

    def finder(self) -> None:
        train_finder(self.shards, self.checkpoints, 240 * self.scale)

    def landmarks(self) -> None:
        train_landmarks(self.shards, self.checkpoints, 200 * self.scale)

    def recogniser(self) -> None:
        train_recogniser(self.shards, self.checkpoints, 2100 * self.scale)

    def tower(self) -> None:
        train_tower(self.shards, self.cache, self.checkpoints, 850 * self.scale)

    def vae(self) -> None:
        train_vae(self.shards, self.checkpoints, 660 * self.scale)

    def decoder(self) -> None:
        train_decoder(self.shards, self.checkpoints, 420 * self.scale)

    def sharper(self) -> None:
        sharpen_decoder(self.shards, self.checkpoints, 300 * self.scale)

    def likeness(self) -> None:
        train_likeness(self.shards, self.checkpoints, 600 * self.scale)

    def style(self) -> None:
        train_style(self.shards, self.checkpoints, 300 * self.scale)

    def text(self) -> None:
        train_tokenizers(self.text_folder)

    def latents(self) -> None:
        write_latents(self.shards, self.checkpoints, self.cache)

    def posed(self) -> None:
        write_posed(self.shards, self.checkpoints, self.cache, SEED)

    def faces(self) -> None:
        write_faces(self.shards, self.checkpoints, self.cache)

    def reader(self) -> None:
        train_reader(self.shards, self.cache, self.checkpoints, 240 * self.scale)

    def generator(self) -> None:
        train_generator(self.shards, self.cache, self.text_folder, self.checkpoints, 3000 * self.scale)

    def polish(self) -> None:
        train_polish(self.shards, self.cache, self.text_folder, self.checkpoints, 400 * self.scale)

    def imitation(self) -> None:
        train_imitation(self.shards, self.cache, self.text_folder, self.checkpoints, 400 * self.scale)

    def export(self) -> None:
        export_faces(self.checkpoints, self.target)
        export_judges(self.checkpoints, self.target)
        export_bundle(self.text_folder, self.checkpoints, self.target)

    def sheet(self) -> None:
        contact_sheet(self.target, self.work / "sheet.png")


# Stages of one branch follow each other; the branches of a phase run side by side, those of TOGETHER on all processes.
PHASES = (
    (
        ("finder", "recogniser", "faces"),
        ("text", "landmarks", "vae", "decoder", "latents", "posed", "reader", "sharper"),
    ),
    (("tower",), ("likeness", "style")),
)
TOGETHER = ("generator", "polish", "imitation")
LAST = ("export", "sheet")
NAMES = ("render", "restore", *(name for phase in PHASES for branch in phase for name in branch), *TOGETHER, *LAST)
STAGES: dict[str, Callable[[TrainingPlan], None]] = {name: getattr(TrainingPlan, name) for name in NAMES}


@click.command(help=__doc__)
@click.argument("stages", nargs=-1, type=click.Choice(list(STAGES)))
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/tiny"), show_default=True)
@click.option("--target", type=click.Path(path_type=Path), default=TARGET, help="Where the bundle goes.")
@click.option("--scale", default=1.0, show_default=True, help="Multiplies the people and the time of every stage.")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True, help="For the whole recipe.")
def main(stages: tuple[str, ...], work: Path, target: Path, scale: float, processes: int) -> None:
    torch.set_num_threads(1)  # processes use cores better than threads do: see lessons/ranks.py
    cv2.setNumThreads(1)
    plan = TrainingPlan(work, target, scale)
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    for name in stages:
        print(f"stage {name}", flush=True)
        STAGES[name](plan)
    if not stages:
        options = [f"--work={work}", f"--target={target}", f"--scale={scale}"]
        crew.as_ranks("render", processes, options)
        for branches in PHASES:
            crew.side_by_side(branches, options)
        for stage in TOGETHER:
            crew.as_ranks(stage, processes, options)
        crew.side_by_side((LAST,), options)


if __name__ == "__main__":
    main()
