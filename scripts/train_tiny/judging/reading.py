"""The trained judges at work: what a portrait shows, and what was drawn, in the same words."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.faces.network import Network, planes
from scripts.train_tiny.drawing.person import DrawnPerson, categories, measures
from scripts.train_tiny.drawing.style import COLOURLESS_ARTS, DrawnStyle, shown
from scripts.train_tiny.judging.judges import FACTORS, likeness_crop, person_classes, style_crop

MIDDLE = 127.5  # of a byte: (x - MIDDLE) / MIDDLE is what both networks read


@dataclass(frozen=True, slots=True)
class Reading:
    """Who is seen: numbers that are close for one person, and a class name per factor."""

    embedding: np.ndarray  # [128], of length one
    factors: dict[str, str]


class Judges:
    """Both judges of one bundle. They score what is finished; nothing is ever conditioned on them."""

    def __init__(self, bundle: Path) -> None:
        """`bundle` holds `judge/`, as `export_judges` writes it."""
        folder = bundle / "judge"
        classes = json.loads((folder / "classes.json").read_text())
        self._factors: dict[str, list[str]] = classes["likeness"]
        self._style_factors: dict[str, list[str]] = classes["style"]
        self._likeness = _network(folder / "likeness.onnx")
        self._style = _network(folder / "style.onnx")

    def who(self, picture: np.ndarray, landmarks: np.ndarray) -> Reading:
        """`picture` [H, W, 3] uint8, a selfie or a portrait; `landmarks` [5, 2] in its pixels."""
        embedding, logits = self._likeness(planes(likeness_crop(picture, landmarks), MIDDLE, MIDDLE)[None])
        return Reading(embedding[0], _named(logits[0], self._factors))

    def style(self, portrait: np.ndarray) -> dict[str, str]:
        """`portrait` [H, W, 3] uint8, square."""
        [logits] = self._style(planes(style_crop(portrait), MIDDLE, MIDDLE)[None])
        return _named(logits[0], self._style_factors)


def drawn_factors(person: DrawnPerson) -> dict[str, str]:
    """What a perfect judge would read."""
    classes = person_classes(categories(person), measures(person))
    return {name: names[i] for (name, names), i in zip(FACTORS.items(), classes, strict=True)}


def visible_factors(style: DrawnStyle) -> set[str]:
    """Which factors, of FACTORS and of STYLE_FACTORS, a picture in this style can show at all."""
    hidden = {"hair_colour", "eye_colour"} if style.art in COLOURLESS_ARTS else set()
    return FACTORS.keys() - hidden | shown(style)


def _named(logits: np.ndarray, factors: dict[str, list[str]]) -> dict[str, str]:
    ends = np.cumsum([len(names) for names in factors.values()])
    parts = np.split(logits, ends[:-1])
    return {name: names[int(part.argmax())] for (name, names), part in zip(factors.items(), parts, strict=True)}


def _network(path: Path) -> Network:
    return Network(path.read_bytes(), device="cpu", threads=1, name=str(path))
