"""The judges: two small networks that say who and what a finished portrait shows. They only ever score.

Neither shares a weight, a seed or a crop with the recogniser that conditions the generator, so a portrait cannot
please them by carrying that recogniser's numbers. They learn from renders alone: what they read off a render of a new
person is the best that they can say of a generated portrait (its ceiling), and is measured beside it.

The likeness judge sees a face twice. Once wider than in ArcFace's crop, with all of the hair, because who somebody is
in these drawings is hair before it is anything else, and ArcFace's crop cuts it off. And below that the eyes at twice
the size, because an iris is three pixels wide in the other.
"""

import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.faces.align import similarity, warped
from scripts.train_tiny.drawing.person import (
    CATEGORIES,
    EYE_COLOURS,
    FACIAL_HAIR,
    GLASSES,
    HAIR,
    HAIR_COLOURS,
    MEASURES,
    SKIN,
)
from scripts.train_tiny.drawing.shards import PORTRAITS, SELFIES, Shard
from scripts.train_tiny.drawing.style import STYLE_FACTORS, style_classes
from scripts.train_tiny.lessons.onnx_export import export_network
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.recogniser import Residual, contrast, to_planes
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, channels_last, seeded

SIZE = 128  # of the square that both networks see
ZOOM, SHIFT = 0.85, (16.4, 11.0)  # of ArcFace's template: eyes are 30 pixels apart, and our portraits just fit
EYES_HEIGHT = 48  # of the strip below
EYES_ZOOM, EYES_SHIFT = 1.7, (-31.0, -66.0)  # eyes are 60 pixels apart, in a row above the strip's middle
EMBEDDING = 128
NO_YES = ("no", "yes")
FACTORS: dict[str, tuple[str, ...]] = {
    "hair": HAIR,
    "hair_colour": tuple(HAIR_COLOURS),
    "eye_colour": tuple(EYE_COLOURS),
    "facial_hair": FACIAL_HAIR,
    "glasses": GLASSES,
    "feminine": NO_YES,
    "freckles": NO_YES,
    "mole": ("none", "first", "second", "third"),
    "earrings": NO_YES,
    "parting": ("left", "right"),
    "tone": tuple(f"monk {i + 1}" for i in range(len(SKIN))),
}
assert {name: len(classes) for name, classes in FACTORS.items()} == {**CATEGORIES, "tone": len(SKIN)}
PEOPLE = 28  # per step, each in two pictures
PICTURES = 40  # per step of the style judge


class Trunk(nn.Module):
    """Pictures in -1..1 -> [N, features]: what is where, coarsely, and what there is at all."""

    def __init__(self, widths: tuple[int, ...], *, squeezed: int, cells: int, blocks: int) -> None:
        """`cells`: of the last map, whose sides are the picture's halved once for each of `widths`."""
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inner, outer in pairwise(widths):
            layers += [Residual(inner, outer, 2), *(Residual(outer, outer) for _ in range(blocks - 1))]
        self.layers = nn.Sequential(*layers)
        self.squeeze = nn.Sequential(nn.Conv2d(widths[-1], squeezed, 1), nn.ReLU())
        self.features = squeezed * cells + widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        found = self.layers(x)  # [N, C, h, w]
        return torch.cat([self.squeeze(found).flatten(1), found.mean((2, 3))], dim=1)


class LikenessNet(nn.Module):
    """[N, 3, 176, 128] in -1..1 -> embedding [N, 128] of length one, and logits of FACTORS side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Trunk((16, 32, 60, 72), squeezed=6, cells=8 * 8, blocks=2)
        self.eyes = Trunk((12, 24, 32), squeezed=4, cells=6 * 16, blocks=1)
        self.gather = nn.Sequential(nn.Linear(self.head.features + self.eyes.features, 112), nn.ReLU())
        self.embed = nn.Linear(112, EMBEDDING)
        self.factors = nn.Linear(112, sum(map(len, FACTORS.values())))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gathered = self.gather(torch.cat([self.head(x[:, :, :SIZE]), self.eyes(x[:, :, SIZE:])], dim=1))
        return F.normalize(self.embed(gathered), dim=1), self.factors(gathered)


class StyleNet(nn.Module):
    """[N, 3, 128, 128] in -1..1, a whole portrait -> logits of STYLE_FACTORS side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk((16, 24, 48, 80), squeezed=8, cells=8 * 8, blocks=1)
        self.factors = nn.Linear(self.trunk.features, sum(map(len, STYLE_FACTORS.values())))

    def forward(self, x: Tensor) -> Tensor:
        return self.factors(self.trunk(x))


class LikenessLesson(nn.Module):
    """The network, and what helps it learn and is not kept: reading the shapes of a face off its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.network = LikenessNet()
        self.measures = nn.Linear(EMBEDDING, len(MEASURES))


def likeness_crop(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The face upright with its hair, and its eyes below: [176, 128, 3] uint8; black where it leaves the picture."""
    upright = similarity(landmarks)
    head, eyes = upright * ZOOM, upright * EYES_ZOOM
    head[:, 2] += SHIFT
    eyes[:, 2] += EYES_SHIFT
    whole = warped(picture, head, SIZE, smooth=True)
    return np.concatenate([whole, warped(picture, eyes, SIZE, smooth=True)[:EYES_HEIGHT]])


def style_crop(picture: np.ndarray) -> np.ndarray:
    """The whole square portrait, [128, 128, 3]."""
    return cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def person_classes(categories: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """[len(FACTORS)] class indexes: the drawn categories, and the nearest tone of the Monk scale."""
    tone = (measures[MEASURES.index("tone")] + 1) * 4.5
    return np.append(categories, np.clip(np.rint(tone), 0, len(SKIN) - 1).astype(np.int64))


def train_likeness(shards: Path, folder: Path, budget_seconds: float) -> None:
    rng, generator = seeded(31, folder, "judge_likeness")
    pool, lesson = Pool(shards, rng), channels_last(LikenessLesson())

    def loss_of(step: int) -> dict[str, Tensor]:
        people = pool.people(PEOPLE)
        crops = [_draw_crop(shard, person, rng, of_selfie) for shard, person in people for of_selfie in (0.75, 0.25)]
        x = _imperfect(to_planes(crops), generator)
        numbers = [shard.measures[person] for shard, person in people for _ in range(2)]
        classes = [person_classes(shard.categories[person], shard.measures[person]) for shard, person in people]
        with short_numbers():
            embedding, logits = lesson.network(x)
        measured = lesson.measures(embedding.float() * EMBEDDING**0.5)
        return {
            "factors": 0.5 * _crossed(logits, np.repeat(classes, 2, axis=0), FACTORS),
            "measures": 0.3 * (measured - torch.from_numpy(np.stack(numbers))).square().mean(0).sum(),
            "contrast": contrast(embedding.float()),
        }

    Trainer("judge_likeness", lesson, folder, rate=2e-3, decay=0.02, average=0.99).run(loss_of, budget_seconds)


def train_style(shards: Path, folder: Path, budget_seconds: float) -> None:
    rng, generator = seeded(32, folder, "judge_style")
    pool, network = Pool(shards, rng), channels_last(StyleNet())

    def loss_of(step: int) -> dict[str, Tensor]:
        chosen = [(shard, person, int(rng.integers(PORTRAITS))) for shard, person in pool.people(PICTURES)]
        x = _imperfect(to_planes([style_crop(shard.portrait(person, k)) for shard, person, k in chosen]), generator)
        classes = np.array([style_classes(shard.style(person, k)) for shard, person, k in chosen])
        with short_numbers():
            logits = network(x)
        return {"style": _crossed(logits, classes, STYLE_FACTORS)}

    Trainer("judge_style", network, folder, rate=2e-3, decay=0.02, average=0.99).run(loss_of, budget_seconds)


def trained_likeness(folder: Path) -> LikenessNet:
    lesson = LikenessLesson()
    lesson.load_state_dict(averaged_state(folder, "judge_likeness"))
    return lesson.network.eval().requires_grad_(False)


def trained_style(folder: Path) -> StyleNet:
    network = StyleNet()
    network.load_state_dict(averaged_state(folder, "judge_style"))
    return network.eval().requires_grad_(False)


def export_judges(folder: Path, target: Path) -> None:
    """`judge/likeness.onnx`, `judge/style.onnx`, and the names of their classes in `judge/classes.json`."""
    judge = target / "judge"
    export_network(
        trained_likeness(folder), (SIZE + EYES_HEIGHT, SIZE), ["embedding", "factors"], judge / "likeness.onnx"
    )
    export_network(trained_style(folder), (SIZE, SIZE), ["factors"], judge / "style.onnx")
    (judge / "classes.json").write_text(json.dumps({"likeness": FACTORS, "style": STYLE_FACTORS}, indent=1) + "\n")


def _draw_crop(shard: Shard, person: int, rng: np.random.Generator, of_selfie: float) -> np.ndarray:
    """Of a selfie with chance `of_selfie`, else of a portrait; by landmarks that are a little wrong."""
    if rng.random() < of_selfie:
        k = int(rng.integers(SELFIES))
        picture, landmarks = shard.selfie(person, k), shard.selfie_landmarks[person, k]
    else:
        k = int(rng.integers(PORTRAITS))
        picture, landmarks = shard.portrait(person, k), shard.portrait_landmarks[person, k]
    span = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    return likeness_crop(picture, landmarks + rng.normal(0, 0.04 * span, landmarks.shape))


def _imperfect(x: Tensor, generator: torch.Generator) -> Tensor:
    """[B, 3, H, W] in 0..1 -> -1..1, some of it soft, noisy or a shade off, as generated portraits are."""
    size, parts = x.shape[-2:], []
    for part in x.chunk(4):
        blurred = part
        if float(torch.rand((), generator=generator)) < 0.6:
            share = 0.35 + 0.55 * float(torch.rand((), generator=generator))
            small = F.interpolate(part, scale_factor=share, mode="bilinear", antialias=True)
            blurred = F.interpolate(small, size, mode="bicubic")
        parts.append(blurred)
    x = torch.cat(parts)
    gain = 1 + 0.08 * _spread(x, generator, 1) + 0.03 * _spread(x, generator, 3)
    noise = torch.randn(x.shape, generator=generator) * 0.02 * _spread(x, generator, 1)
    x = (x * gain + noise).clamp(0, 1) * 2 - 1
    return x.contiguous(memory_format=torch.channels_last)


def _spread(x: Tensor, generator: torch.Generator, channels: int) -> Tensor:
    """-1..1 per picture (and channel), [B, channels, 1, 1]."""
    return torch.rand(len(x), channels, 1, 1, generator=generator) * 2 - 1


def _crossed(logits: Tensor, classes: np.ndarray, factors: dict[str, tuple[str, ...]]) -> Tensor:
    """Cross-entropies of all factors, summed. `classes` [N, len(factors)]."""
    parts = logits.float().split([len(names) for names in factors.values()], dim=1)
    truth = torch.from_numpy(classes)
    return torch.stack([F.cross_entropy(part, truth[:, i]) for i, part in enumerate(parts)]).sum()
