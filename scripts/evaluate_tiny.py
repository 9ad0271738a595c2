"""What the embedded bundle's portraits are worth: python scripts/evaluate_tiny.py --seed 20261 [--n 64]

Draws `n` people whom nothing was trained on, sends a selfie of each through the service's own engine with a prompt in
the words of the training but in new combinations, and has the portraits judged by two networks that condition nothing
(scripts/train_tiny/judging). Everything is also measured on drawings of what would be right: the ceiling, which the
judges' own mistakes set. A table is printed, and one JSON object as the last line.

How each number is meant:

top1, top5          of `n` strangers, share of portraits whose nearest selfie is their own person's (or among the five
                    nearest), by the likeness judge. That selfie is a second one, which the engine never saw. The
                    prompt says "person" for everybody. Mean of two seeds; chance is 1 / n.
control_top1        the same with every ID token zeroed: must be chance.
likeness_same/other mean cosine to the own and to others' second selfie.
attribute_agreement mean over hair style, hair colour, eye colour, facial hair, glasses (none or which kind) and
                    presentation: what one would name when describing somebody. Each is read off the portrait and held
                    against what was drawn, not against the selfie's reading. Colours count only where the style shows
                    them (not in black and white or neon). Freckles, moles, earrings and the side of the parting are
                    few pixels or seldom there; as "small marks" they are given apart, as the mean of the recalls of
                    "there" and "not there", so that never seeing any scores 0.5. Skin tone is below, in degrees.
style_obedience     mean over garment, its colour, place and art direction. The colour of a plain background, of which
                    the judge misreads one in fourteen drawings, and light, since "soft" is often the prompt's silence,
                    are given with them but not counted.
ita_shift           skin's ITA in degrees (judge_skin.py), portrait minus drawing, both in neutral light before grey,
                    so that art direction does not count; signed mean for each two tones of the Monk scale. Everybody
                    has a seed of their own: the noise of one makes all skin lighter or darker, by up to 1 L*.
detail              differences of neighbouring pixels in a face, as a share of those in the drawing, by tones: a blur
                    has fewer, and so has dark skin whose features went under.
diversity           two seeds of one prompt: mean difference of pixels (0..255), and the judge's cosine.
ms_per_image        median of the engine's time for one image alone: steps and decoding.

Landmarks for the judge's crop are found on the portrait by the service's own analyzer. Where it finds no face
(`faces_missed`), the medians of the others' are used: all portraits of one adapter are framed alike.
`selfies_accepted` is the share of people whose first selfie the service takes; a refused one is drawn again, and whose
third is refused too is let in with the landmarks that were drawn (`gave_up`), so that all tones stay in the numbers
above whatever the face detector misses.
"""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from models.worker.openmp import openmp_environment

os.environ.update(openmp_environment(os.environ))  # as the front starts its workers; read when torch is loaded

import numpy as np
import torch

from models.weights.manifest import PACKAGE
from scripts.studio import BUNDLE, Studio, StudioOrder, open_studio
from scripts.train_tiny.drawing.render import Render
from scripts.train_tiny.judging.panel import Panel, Round, Seen
from scripts.train_tiny.judging.people import Commission, draw_sitter
from scripts.train_tiny.judging.reading import Judges

STEPS = (1, 2, 4, 8)
SEEDS = (11, 12)
TIMED_IMAGES = 7


class Evaluation:
    """One bundle, one adapter, `n` people."""

    def __init__(self, studio: Studio, judges: Judges, *, seed: int, n: int, adapter: str | None) -> None:
        self._studio, self._judges, self._adapter = studio, judges, adapter
        self.sitters = [draw_sitter(seed, index, studio.accepts) for index in range(n)]
        for sitter in self.sitters:
            if sitter.gave_up:
                studio.introduce(sitter.selfie.pixels, sitter.selfie.landmarks)
        selfies = [sitter.second_selfie for sitter in self.sitters]
        self._panel = Panel(
            self.sitters, np.stack([judges.who(selfie.pixels, selfie.landmarks).embedding for selfie in selfies])
        )
        self._portraits = self._missed = 0

    def run(self) -> dict[str, object]:
        rounds = [self._shoot(self._studio, seed=seed) for seed in SEEDS]
        shift = self._panel.ita_shift(self._shoot_neutral())
        return {
            **self._panel.scores(rounds),
            "ita_shift_max_abs": max(map(abs, shift.values())),
            "ita_shift": shift,
            "control_top1": self._panel.top1(self._shoot(self._studio.without_identity())),
            "top1_by_steps": {
                steps: self._panel.top1(rounds[0] if steps == 4 else self._shoot(self._studio, steps=steps))
                for steps in STEPS
            },
            "ceiling": self._ceiling(),
            "faces_missed": self._missed / self._portraits,
            "selfies_accepted": self._panel.by_tone([sitter.accepted for sitter in self.sitters]),
            "gave_up": sum(sitter.gave_up for sitter in self.sitters),
        }

    def milliseconds(self) -> dict[int, float]:
        """By steps; one image at a time."""
        sitter = self.sitters[0]
        orders = {steps: self._order(sitter.selfie, sitter.wanted, SEEDS[0], steps) for steps in STEPS}
        return {
            steps: statistics.median(self._studio.engine_seconds(order) for _ in range(TIMED_IMAGES)) * 1000
            for steps, order in orders.items()
        }

    def _shoot(self, studio: Studio, *, seed: int = SEEDS[0], steps: int = 4) -> Round:
        return self._photograph(studio, [self._order(s.selfie, s.wanted, seed, steps) for s in self.sitters])

    def _shoot_neutral(self) -> Round:
        return self._photograph(
            self._studio,
            [self._order(s.selfie, s.neutral, SEEDS[0] + index, 4) for index, s in enumerate(self.sitters)],
        )

    def _order(self, selfie: Render, wanted: Commission, seed: int, steps: int) -> StudioOrder:
        return StudioOrder(
            selfies=(selfie.pixels,), prompt=wanted.prompt, seed=seed, steps=steps, adapter=self._adapter
        )

    def _photograph(self, studio: Studio, orders: Sequence[StudioOrder]) -> Round:
        portraits = studio.shoot(orders)
        found = [self._studio.landmarks(portrait) for portrait in portraits]
        seen = [points for points in found if points is not None] or [self.sitters[0].wanted.target.landmarks]
        usual = np.median(seen, axis=0)
        self._portraits += len(portraits)
        self._missed += sum(points is None for points in found)
        return self._see(portraits, [usual if points is None else points for points in found])

    def _see(self, portraits: Sequence[np.ndarray], landmarks: Sequence[np.ndarray]) -> Round:
        return [
            Seen(portrait, points, self._judges.who(portrait, points), self._judges.style(portrait))
            for portrait, points in zip(portraits, landmarks, strict=True)
        ]

    def _ceiling(self) -> dict[str, object]:
        """The same measures on drawings of what was asked for."""
        wanted = [sitter.wanted for sitter in self.sitters]
        rounds = [self._see_drawn([w.target for w in wanted]), self._see_drawn([w.second_target for w in wanted])]
        plain = self._see_drawn([sitter.neutral.second_target for sitter in self.sitters])
        return {**self._panel.scores(rounds), "ita_shift": self._panel.ita_shift(plain)}

    def _see_drawn(self, drawings: Sequence[Render]) -> Round:
        return self._see([drawing.pixels for drawing in drawings], [drawing.landmarks for drawing in drawings])


@click.command(help=(__doc__ or "").partition("\n\nHow each")[0])
@click.option("--seed", required=True, type=int, help="Of the people and what they order.")
@click.option("--n", default=64, show_default=True, help="People; no fewer than 20, so that all tones are there.")
@click.option("--adapter", help="Of those in the bundle; left out, its default.")
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), help="A folder in the layout of the embedded.")
def main(seed: int, n: int, adapter: str | None, bundle: Path | None) -> None:
    if n < 20:
        raise click.BadParameter(f"{n} people are too few: 20 are needed for every tone and presentation.")
    folder = bundle or PACKAGE / BUNDLE
    studio = open_studio(bundle)
    if adapter not in (None, *studio.adapters):
        raise click.BadParameter(f"the bundle has no adapter {adapter!r}; it has {', '.join(studio.adapters)}")
    evaluation = Evaluation(studio, Judges(folder), seed=seed, n=n, adapter=adapter)
    milliseconds = evaluation.milliseconds()
    result = {
        **evaluation.run(),
        "ms_per_image_4_steps": milliseconds[4],
        "ms_per_image": milliseconds,
        "bundle_mb": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
        "adapter": adapter or studio.adapters[0],
        "seed": seed,
        "n": n,
        "threads": torch.get_num_threads(),
    }
    print_table(result)
    print(json.dumps(_rounded(result)))


def print_table(result: dict[str, Any]) -> None:
    """Generated portraits, and drawings of what was asked for."""
    ceiling: dict[str, Any] = result["ceiling"]
    print(f"{result['adapter']}, {result['n']} new people (seed {result['seed']}), 4 steps, seeds {SEEDS}")
    print(f"{'':34}{'portraits':>10}{'drawings':>10}")
    for name in ("top1", "top5", "likeness_same", "likeness_other", "attribute_agreement", "style_obedience"):
        _print_row(name, result[name], ceiling[name])
    for table in ("top1_by_tone", "attributes", "small_marks", "styles", "detail", "ita_shift"):
        for name, value in result[table].items():
            _print_row(f"  {table}: {name}", value, ceiling[table].get(name))
    for name, value in result["selfies_accepted"].items():
        _print_row(f"  selfies_accepted: {name}", value)
    for name in ("diversity_pixels", "diversity_cosine"):
        _print_row(name, result[name], ceiling[name])
    for name in ("ita_shift_max_abs", "control_top1", "faces_missed", "gave_up", "bundle_mb"):
        _print_row(name, result[name])
    for steps in STEPS:
        _print_row(f"top1, {steps} steps", result["top1_by_steps"][steps])
        _print_row(f"ms an image, {steps} steps", result["ms_per_image"][steps])


def _print_row(name: str, value: float, ceiling: float | None = None) -> None:
    print(f"{name:34}{value:10.3f}" + ("" if ceiling is None else f"{ceiling:10.3f}"))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
