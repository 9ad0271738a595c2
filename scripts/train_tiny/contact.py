"""A contact sheet: held-out selfies beside what the bundle makes of them."""

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


def contact_sheet(bundle: Path, heldout: Path, target: Path, *, people: int = 8, steps: int = 4) -> None:
    """A PNG: each row a selfie, the portraits of PROMPTS, and last the first prompt without the person."""
    sampler, shard = load_sampler(bundle), first_shard(heldout)
    rows = []
    for person in range(people):
        index = person * 23 % len(shard)
        selfie = shard.selfie(index, 0)
        tokens = sampler.identity(selfie, shard.selfie_landmarks[index, 0])
        made = [sampler.portrait(tokens, prompt_for(shard, index, p), seed=person, steps=steps) for p in PROMPTS]
        plain = sampler.portrait(None, prompt_for(shard, index, PROMPTS[0]), seed=person, steps=steps)
        cells = [cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in (selfie, *made, plain)]
        rows.append(np.concatenate(cells, axis=1))
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.concatenate(rows)[:, :, ::-1])


def prompt_for(shard: Shard, person: int, template: str) -> str:
    return template.format("woman" if shard.feminine[person] else "man")


def first_shard(heldout: Path) -> Shard:
    return read_shard(shard_paths(heldout)[0])
