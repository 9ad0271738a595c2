"""PhotoMaker v1's encoder learns to say what v2's first token says, after the generator.

Trained with the generator, its token drifted and its fuse learnt to ignore it (nothing was read off its portraits), so
it gets v2's fuse as it is and only has to give the token that the generator already understands. One token of two: v2's
first says hair and colours, the second glasses, facial hair and presentation, which are lost here.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.adapters.photomaker.encoder import PhotoMakerEncoder
from scripts.train_tiny.cache import EMBEDDINGS, Selfies, read_lessons
from scripts.train_tiny.generator import trained_generator
from scripts.train_tiny.shards import SELFIES
from scripts.train_tiny.teach import relit
from scripts.train_tiny.tower import tower_shape, trained_tower
from scripts.train_tiny.trainer import Trainer, averaged_state, seeded

BATCH = 64


def train_imitation(shards: Path, cache: Path, text: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(11, folder, "imitation")
    model = trained_generator(text, folder).id_encoder
    pupil = trained_tower(folder)
    pupil.fuse_module.load_state_dict(model.fuse_module.state_dict())
    pupil.fuse_module.requires_grad_(False)
    people = [lesson.selfies for lesson in read_lessons(shards, cache)]

    def loss_of(step: int) -> dict[str, Tensor]:
        drawn = [_draw(people, rng) for _ in range(BATCH)]
        pixels = relit([pixels for pixels, _ in drawn], rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.no_grad():
                meant = model(pixels, torch.stack([embedding.float() for _, embedding in drawn]))[:, :1]
            said = pupil(pixels)
        return {"token": (said.float() - meant.float()).square().mean()}

    Trainer("imitation", pupil, folder, rate=1e-3, average=0.98).run(loss_of, budget_seconds)


def trained_imitation(folder: Path) -> PhotoMakerEncoder:
    pupil = PhotoMakerEncoder(tower_shape())
    pupil.load_state_dict(averaged_state(folder, "imitation"))
    return pupil.eval().requires_grad_(False)


def _draw(people: list[Selfies], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A selfie's pixels and its embedding."""
    selfies = people[rng.integers(len(people))]
    person, k = rng.integers(len(selfies.pixels)), rng.integers(SELFIES)
    return selfies.pixels[person, k], selfies.embeddings[person, k, rng.integers(EMBEDDINGS)]
