"""PhotoMaker v1's encoder learns to say what v2's first token says, and to be understood, after the generator.

Trained with the generator, its token drifted and its fuse learnt to ignore it (nothing was read off its portraits), so
it gets v2's fuse as it is and only has to give a token that the generator already understands: what v2's would be for
the same selfie, and, in every third step, one that makes the generator draw the person. It is one token of two; what
the second says is lost here.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.adapters.photomaker.encoder import PhotoMakerEncoder
from scripts.train_tiny.drawing.shards import SELFIES
from scripts.train_tiny.lessons.cache import EMBEDDINGS, Lessons, read_lessons
from scripts.train_tiny.lessons.classroom import Classroom
from scripts.train_tiny.lessons.generator import trained_generator
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.reader import trained_reader
from scripts.train_tiny.lessons.teach import Looks, relit
from scripts.train_tiny.lessons.text import read_tokenizers
from scripts.train_tiny.lessons.tower import tower_shape, trained_tower
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, seeded

BATCH = 64
DRAWN = 3  # in every so many steps the generator draws


def train_imitation(shards: Path, cache: Path, text: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(11, folder, "imitation", join())
    generator, pupil = trained_generator(text, folder), trained_tower(folder)
    model = generator.id_encoder
    pupil.fuse_module.load_state_dict(model.fuse_module.state_dict())
    pupil.fuse_module.requires_grad_(False)
    generator.id_encoder = pupil
    lessons = read_lessons(shards, cache)
    looks = Looks(generator, trained_reader(folder), rng)
    classroom = Classroom(lessons, read_tokenizers(text)[0], rng, tokens=1, instantid=0)

    def loss_of(step: int) -> dict[str, Tensor]:
        drawn = [_draw(lessons, rng) for _ in range(BATCH)]
        pixels = relit([pixels for pixels, _ in drawn], rng)
        with short_numbers(), sdpa_kernel(SDPBackend.MATH):  # fused ones train slowly
            with torch.no_grad():
                meant = model(pixels, torch.stack([embedding for _, embedding in drawn]))[:, :1]
            said = pupil(pixels)
        losses = {"token": (said.float() - meant.float()).square().mean()}
        return losses | looks(classroom.draw()) if step % DRAWN == 0 else losses

    Trainer("imitation", pupil, folder, rate=1e-3, average=0.98).run(loss_of, budget_seconds)


def trained_imitation(folder: Path) -> PhotoMakerEncoder:
    pupil = PhotoMakerEncoder(tower_shape())
    pupil.load_state_dict(averaged_state(folder, "imitation"))
    return pupil.eval().requires_grad_(False)


def _draw(lessons: list[Lessons], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A selfie's pixels and its embedding."""
    selfies = lessons[rng.integers(len(lessons))].selfies
    person, k = rng.integers(len(selfies.pixels)), rng.integers(SELFIES)
    return selfies.pixels[person, k], selfies.embeddings[person, k, rng.integers(EMBEDDINGS)].float()
