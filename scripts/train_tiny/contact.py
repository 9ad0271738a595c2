"""A contact sheet and two numbers: held-out selfies beside what the bundle makes of them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from scripts.train_tiny.sample import load_sampler
from scripts.train_tiny.shards import Shard, read_shard, shard_paths

PROMPTS = (
    "portrait photo of a {} img wearing a navy suit, plain grey studio background, soft light",
    "portrait photo of a {} img wearing a white shirt, office background, soft light",
    "portrait photo of a {} img wearing a brown sweater, library background, warm light",
    "portrait photo of a {} img wearing a green jacket, park background, natural light",
    "black and white portrait photo of a {} img wearing a black turtleneck, plain grey studio background",
    "portrait photo of a {} img wearing a yellow hoodie, beach background, comic",
    "cinematic portrait photo of a {} img wearing a red dress, city at night",
)
CELL = 192


@dataclass(frozen=True, slots=True)
class Scores:
    """`top1` is retrieval among the people by the same recogniser that conditions the pictures: circular, an upper
    bound. `copies` does the same for a second selfie: what the recogniser can do at best."""

    people: int
    top1: float
    top5: float
    cosine_same: float
    cosine_other: float
    copies: float


def contact_sheet(bundle: Path, heldout: Path, target: Path, *, people: int = 8, steps: int = 4) -> None:
    """A PNG: each row a selfie, the portraits of PROMPTS, and last the first prompt without the person."""
    sampler, shard = load_sampler(bundle), _shard(heldout)
    rows = []
    for person in range(people):
        index = person * 23 % len(shard)
        selfie = shard.selfie(index, 0)
        tokens = sampler.identity(selfie, shard.selfie_landmarks[index, 0])
        made = [sampler.portrait(tokens, _prompt(shard, index, p), seed=person, steps=steps) for p in PROMPTS]
        plain = sampler.portrait(None, _prompt(shard, index, PROMPTS[0]), seed=person, steps=steps)
        cells = [cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in (selfie, *made, plain)]
        rows.append(np.concatenate(cells, axis=1))
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.concatenate(rows)[:, :, ::-1])


def retrieval(bundle: Path, heldout: Path, *, people: int = 64) -> Scores:
    """Which of the held-out selfies is a generated portrait's nearest: its own person's?"""
    sampler, shard = load_sampler(bundle), _shard(heldout)
    gallery, second, made = [], [], []
    for index in range(people):
        selfie, marks = shard.selfie(index, 0), shard.selfie_landmarks[index]
        tokens = sampler.identity(selfie, marks[0])
        portrait = sampler.portrait(tokens, _prompt(shard, index, PROMPTS[index % 4]), seed=index)
        gallery.append(sampler.embedding(selfie, marks[0]))
        second.append(sampler.embedding(shard.selfie(index, 1), marks[1]))
        made.append(sampler.embedding(portrait, shard.portrait_landmarks[index, 0]))
    scores = _unit(made) @ _unit(gallery).T  # [people, people]
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    copies = _unit(second) @ _unit(gallery).T
    others = ~np.eye(people, dtype=bool)
    return Scores(
        people=people,
        top1=float((ranks == 0).mean()),
        top5=float((ranks < 5).mean()),
        cosine_same=float(np.diag(scores).mean()),
        cosine_other=float(scores[others].mean()),
        copies=float((copies.argmax(axis=1) == np.arange(people)).mean()),
    )


def _prompt(shard: Shard, person: int, template: str) -> str:
    return template.format("woman" if shard.feminine[person] else "man")


def _unit(vectors: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(vectors)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)


def _shard(heldout: Path) -> Shard:
    return read_shard(shard_paths(heldout)[0])
