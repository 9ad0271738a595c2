"""People whom nothing was trained on, with all that judging portraits of them needs."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from scripts.train_tiny.drawing.person import DrawnPerson, draw_identity
from scripts.train_tiny.drawing.pose import portrait_pose, selfie_pose
from scripts.train_tiny.drawing.prompts import TRIGGER, draw_prompt
from scripts.train_tiny.drawing.render import Render, render
from scripts.train_tiny.drawing.style import DrawnStyle, draw_style, plain_style
from scripts.train_tiny.judging.reading import drawn_factors

APART = 1_000_000  # training draws from [its seed, shard number], and there are fewer shards than this
TRIES = 3  # selfies that somebody takes before they give up


@dataclass(frozen=True, slots=True)
class Commission:
    """A portrait that is wanted: its prompt, and two drawings of what would be right."""

    style: DrawnStyle
    prompt: str  # calls the sitter "person", so that no word tells who it is
    target: Render
    second_target: Render


@dataclass(frozen=True, slots=True)
class Sitter:
    """One person to be judged."""

    selfie: Render  # what the engine gets
    second_selfie: Render  # what it does not
    accepted: bool  # whether the photo judge took the first selfie ...
    gave_up: bool  # ... or none of TRIES: `selfie` is then the last of them
    wanted: Commission
    neutral: Commission
    truth: dict[str, str]  # by the names of FACTORS
    tone: float  # 0..9


def draw_sitter(seed: int, index: int, accepts: Callable[[np.ndarray], bool]) -> Sitter:
    """Tones and presentations come round in turn with `index`."""
    rng = np.random.default_rng([seed, APART + index])
    person, style = draw_identity(rng, index), draw_style(rng)
    selfies = [render(person, plain_style(rng), selfie_pose(rng)) for _ in range(TRIES + 1)]
    taken = next((i for i, selfie in enumerate(selfies[:TRIES]) if accepts(selfie.pixels)), None)
    return Sitter(
        selfie=selfies[TRIES - 1 if taken is None else taken],
        second_selfie=selfies[TRIES],
        accepted=taken == 0,
        gave_up=taken is None,
        wanted=commission(person, style, rng),
        neutral=commission(person, _neutral(style), rng),
        truth=drawn_factors(person),
        tone=person.tone,
    )


def commission(person: DrawnPerson, style: DrawnStyle, rng: np.random.Generator) -> Commission:
    prompt = re.sub(rf"\w+ {TRIGGER}", "person", draw_prompt(rng, style, person.feminine))
    target, second = (render(person, style, portrait_pose(rng)) for _ in range(2))
    return Commission(style, prompt, target, second)


def _neutral(style: DrawnStyle) -> DrawnStyle:
    """The same clothes before a grey wall in soft light: where skin is measured."""
    return replace(style, place="studio", backdrop="grey", light="soft", art="none")
