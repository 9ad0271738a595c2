"""How a final agrees with its preview: python scripts/measure_finals.py [--n 24] [--refining 1,2,3,4,5]

Draws `n` people whom nothing was trained on. Of each a preview and its final are made with the embedded bundle, and,
for comparison, a final drawn anew from another seed, as a service would make that only repeats the request. A table is
printed, and one JSON object as the last line.

likeness      cosine of the likeness judge (scripts/train_tiny/judging) between final and preview
own, preview  the judge's cosine to the person's second selfie, which the engine never sees: of finals, of previews
structure     SSIM, in grey, of the preview and the final shrunk to its size; 1 is the same picture
draw          correlation, over grey pixels, of what sets final and preview apart from another seed's preview: how
              much of the draw itself was kept, whatever all portraits of the person share
detail        mean absolute gradient over that of the preview enlarged to the same size (Lanczos); over 1 is crisper
found         share of finals whose face the service's own analyzer finds (the judge needs landmarks)
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from models.worker.openmp import openmp_environment

os.environ.update(openmp_environment(os.environ))  # as the front starts its workers; read when torch is loaded

import cv2
import msgspec
import numpy as np
from skimage.metrics import structural_similarity

from models.faces.face import Rgb
from models.weights.manifest import PACKAGE
from scripts.studio import BUNDLE, Studio, StudioOrder, open_studio
from scripts.train_tiny.judging.people import Sitter, draw_sitter
from scripts.train_tiny.judging.reading import Judges

SEED, OTHER_SEED = 11, 1011  # and on from there, one for each person


@dataclass(frozen=True, slots=True)
class Agreement:
    """One number for each person; see the module's docstring."""

    likeness: np.ndarray
    structure: np.ndarray
    draw: np.ndarray
    own: np.ndarray
    detail: np.ndarray
    found: float

    def summary(self) -> dict[str, float]:
        means = {name: float(getattr(self, name).mean()) for name in ("likeness", "structure", "draw", "own", "detail")}
        least = {f"least_{name}": float(getattr(self, name).min()) for name in ("likeness", "structure")}
        return {name: round(value, 4) for name, value in {**means, **least, "found": self.found}.items()}


class FinalsComparison:
    """Some people's previews, and what finals of them are worth."""

    def __init__(self, studio: Studio, sitters: Sequence[Sitter], adapter: str | None) -> None:
        self._judges = Judges(PACKAGE / BUNDLE)
        self._sitters, self._adapter = sitters, adapter
        for sitter in sitters:
            studio.introduce(sitter.selfie.pixels, sitter.selfie.landmarks)  # is it found? asked elsewhere
        self.studio = studio
        self.previews = studio.shoot(self._orders(SEED))
        self._others = studio.shoot(self._orders(OTHER_SEED))
        drawn = sitters[0].wanted.target.landmarks
        found = [points for points in map(studio.landmarks, self.previews) if points is not None]
        self._usual = np.median(found or [drawn], axis=0)  # previews are framed alike
        seconds = [sitter.second_selfie for sitter in sitters]
        self._own = np.stack([self._judges.who(s.pixels, s.landmarks).embedding for s in seconds])
        self._seen, _ = self._read(self.previews)

    @property
    def own_of_previews(self) -> float:
        return float((self._seen * self._own).sum(axis=1).mean())

    def previews_again(self) -> list[Rgb]:
        """The same orders to the same studio, whose networks may have been changed since."""
        return self.studio.shoot(self._orders(SEED))

    def finals(self, studio: Studio, *, anew: bool = False) -> list[Rgb]:
        """By this studio's way; `anew` from another seed than the previews."""
        return studio.shoot(self._orders(OTHER_SEED if anew else SEED, final=True))

    def agreement(self, finals: Sequence[Rgb]) -> Agreement:
        seen, found = self._read(finals)
        pairs = list(zip(finals, self.previews, strict=True))
        return Agreement(
            likeness=(seen * self._seen).sum(axis=1),
            structure=np.array([structure(final, preview) for final, preview in pairs]),
            draw=np.array([draw(*three) for three in zip(finals, self.previews, self._others, strict=True)]),
            own=(seen * self._own).sum(axis=1),
            detail=np.array([detail(final) / detail(resized(preview, len(final))) for final, preview in pairs]),
            found=found,
        )

    def _orders(self, first_seed: int, *, final: bool = False) -> list[StudioOrder]:
        return [
            StudioOrder(
                selfies=(sitter.selfie.pixels,),
                prompt=sitter.wanted.prompt,
                seed=seed,
                adapter=self._adapter,
                final=final,
            )
            for seed, sitter in enumerate(self._sitters, start=first_seed)
        ]

    def _read(self, pictures: Sequence[Rgb]) -> tuple[np.ndarray, float]:
        """The judge's embeddings [n, 128], and the share of pictures in which the analyzer found the face."""
        found = [self.studio.landmarks(picture) for picture in pictures]
        usual = self._usual * (len(pictures[0]) / len(self.previews[0]))
        points = [usual if one is None else one for one in found]
        read = [self._judges.who(picture, where) for picture, where in zip(pictures, points, strict=True)]
        return np.stack([one.embedding for one in read]), float(np.mean([one is not None for one in found]))


def structure(final: Rgb, preview: Rgb) -> float:
    shrunk = grey(resized(final, len(preview)))
    return np.asarray(structural_similarity(shrunk, grey(preview), data_range=255)).item()


def draw(final: Rgb, preview: Rgb, other: Rgb) -> float:
    """-1 to 1; `other` is the preview of another seed."""
    apart = [grey(picture).astype(np.float32) - grey(other) for picture in (resized(final, len(preview)), preview)]
    return float(np.corrcoef(apart[0].ravel(), apart[1].ravel())[0, 1])


def detail(picture: Rgb) -> float:
    across, down = np.gradient(grey(picture).astype(np.float32))
    return float(np.hypot(across, down).mean())


def grey(picture: Rgb) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def resized(picture: Rgb, side: int) -> Rgb:
    """Square, by area where it shrinks."""
    method = cv2.INTER_AREA if side < len(picture) else cv2.INTER_LANCZOS4
    return cv2.resize(picture, (side, side), interpolation=method).astype(np.uint8, copy=False)


@click.command(help=(__doc__ or "").partition("\n\nlikeness")[0])
@click.option("--n", default=24, show_default=True, help="People.")
@click.option("--seed", default=20261, show_default=True, help="Of the people and what they order.")
@click.option("--adapter", help="Of those in the bundle; left out, its default.")
@click.option("--refining", help="Steps to be made again, with commas: several ways beside the bundle's own.")
def main(n: int, seed: int, adapter: str | None, refining: str | None) -> None:
    studio = open_studio()
    compared = FinalsComparison(studio, [draw_sitter(seed, index, lambda _: True) for index in range(n)], adapter)
    spec = studio.final
    ways = [msgspec.structs.replace(spec, refining=int(count)) for count in refining.split(",")] if refining else [spec]
    rows = {
        f"the last {way.refining} of {way.steps}": compared.agreement(compared.finals(studio.with_final(way))).summary()
        for way in ways
    }
    rows["drawn anew"] = compared.agreement(compared.finals(studio, anew=True)).summary()
    name, own = adapter or studio.adapters[0], compared.own_of_previews
    print(f"{name}, {n} people (seed {seed}); own of the previews {own:.3f}")
    print(f"{'final':20}" + "".join(f"{column:>17}" for column in rows["drawn anew"]))
    for title, row in rows.items():
        print(f"{title:20}" + "".join(f"{value:17.3f}" for value in row.values()))
    print(json.dumps({"adapter": name, "n": n, "seed": seed, "own_of_previews": round(own, 4), "finals": rows}))


if __name__ == "__main__":
    main()
