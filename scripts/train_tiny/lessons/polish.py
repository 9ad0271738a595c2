"""The last lesson, the decoder's alone: what the finished generator really gives it.

Latents of few steps are expectations, smaller than any picture's own; a decoder that has only seen pictures' own makes
skin of them that is darker than what was meant, and irises and glasses that latents still tell apart fade in its
pixels. So it sees drafts, sampled as the service does it. Where things are differs a little between a draft and the
portrait that was drawn, so drafts are held to it in broad colours, in the skin's, in what the recogniser reads there
and in what the discriminator sees, and little pixel by pixel; sharpness goes on being learnt from drawn pictures as
well. The encoder stays as it is.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.engine.plan import make_plan
from models.engine.variance_preserving import VariancePreserving
from models.faces.align import similarity
from scripts.train_tiny.drawing.person import tone_of
from scripts.train_tiny.drawing.shards import Shard
from scripts.train_tiny.lessons.cache import lesson_names, read_lessons
from scripts.train_tiny.lessons.classroom import Classroom, LessonBatch, as_images
from scripts.train_tiny.lessons.discriminator import Contest, begin_contest
from scripts.train_tiny.lessons.generator import Generator, encoder_shape, trained_generator
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.recogniser import SIZE, RecogniserLesson, to_planes, trained_lesson
from scripts.train_tiny.lessons.skin import Lean, skin_colours
from scripts.train_tiny.lessons.teach import steer
from scripts.train_tiny.lessons.text import read_tokenizers
from scripts.train_tiny.lessons.trainer import Trainer, channels_last, seeded
from scripts.train_tiny.lessons.vae import decode, redraw

SHOWN = 3  # drafts that are decoded in each step
STEPS_A_BATCH = 4  # of training, on one batch of drafts
STEPS, STEPS_ODDS = (4, 2, 1), (0.6, 0.2, 0.2)  # of a draft
BROAD = 8  # pixels a side of what is compared in colour
# Weights of colours everywhere, of the skin's, of its lean, of the recogniser's embedding, of the factors it names, of
# single pixels, and of the discriminator's score.
TONE, SKIN, LEAN, LOOK, NAMES, LINES, FOOLING = 6.0, 0.03, 0.1, 1.0, 0.05, 4.0, 0.01


@dataclass(frozen=True, slots=True)
class Drafts:
    """A batch, and what the generator made of it."""

    batch: LessonBatch
    latents: Tensor  # [B, C, 16, 16]


class Critic:
    """Decodes drafts and says what is wrong with the pixels. Belongs to one training loop."""

    def __init__(
        self, contest: Contest, recogniser: RecogniserLesson, shards: list[Shard], rng: np.random.Generator
    ) -> None:
        """`shards` are the classroom's lessons, in their order."""
        self._contest = contest
        self._recogniser = recogniser
        self._shards = shards
        self._rng = rng
        self._lean = Lean()

    def __call__(self, drafts: Drafts) -> dict[str, Tensor]:
        """SHOWN of the batch's people, decoded whole, against the portraits that were meant."""
        batch = drafts.batch
        rows = self._rng.permutation(torch.nonzero(batch.readable)[:, 0].numpy())[:SHOWN]
        drawn = [self._shards[lesson].portrait(person, k) for lesson, person, k in (batch.sources[r] for r in rows)]
        wanted = as_images(to_planes(drawn) * 2 - 1)
        marks = list(batch.landmarks[rows].numpy())
        with short_numbers():
            made = decode(self._contest.vae, as_images(drafts.latents[rows])).float()
            seen = self._recogniser.network(crops(made, marks)).float()
            with torch.no_grad():
                meant = self._recogniser.network(crops(wanted, marks)).float()
        logits, _ = self._recogniser.heads(seen)
        named = [F.cross_entropy(one, batch.classes[rows, i]) for i, one in enumerate(logits)]
        off = skin_colours(made, marks) - skin_colours(wanted, marks)
        return {
            "skin": SKIN * off.square().mean(),
            "lean": LEAN * self._lean(off, [tone_of(person) for person in batch.measures[rows].numpy()]),
            "draft": TONE * (F.avg_pool2d(made, BROAD) - F.avg_pool2d(wanted, BROAD)).square().mean(),
            "look": LOOK * (1 - F.cosine_similarity(seen, meant)).mean(),
            "names": NAMES * torch.stack(named).sum(),
            "lines": LINES * (made - wanted).abs().mean(),
            **{f"draft's {name}": term for name, term in self._contest.terms(made, wanted, FOOLING).items()},
        }


def train_polish(shards: Path, cache: Path, text: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(13, folder, "polish", join())
    generator, contest = trained_generator(text, folder), begin_contest(folder)
    channels_last(generator.unet)
    pool, each = Pool(shards, rng), encoder_shape().tokens_per_picture
    classroom = Classroom(read_lessons(shards, cache), read_tokenizers(text)[0], rng, tokens=each)
    critic = Critic(contest, trained_lesson(folder), [pool.shard(name) for name in lesson_names(cache)], rng)
    drafts = _draft(generator, classroom.draw(), rng)

    def loss_of(step: int) -> dict[str, Tensor]:
        nonlocal drafts
        if step % STEPS_A_BATCH == 0:
            drafts = _draft(generator, classroom.draw(), rng)
        seen = redraw(contest.vae, pool, step, rng)
        return seen.losses() | contest.terms(seen.made, seen.drawn) | critic(drafts)

    Trainer("polish", contest, folder, rate=6e-4, decay=1e-4, average=0.99).run(loss_of, budget_seconds)


@torch.no_grad()
def _draft(generator: Generator, batch: LessonBatch, rng: np.random.Generator) -> Drafts:
    """Sampled by the table that the service goes by."""
    plan = make_plan("euler", int(rng.choice(STEPS, p=STEPS_ODDS)), VariancePreserving(prediction="v_prediction"))
    steered = steer(generator, batch, rng)
    x = plan.initial_scale * torch.randn_like(batch.latents)
    for step in plan.steps:
        timesteps = torch.full((len(x),), step.t)
        with short_numbers():
            velocity = generator.denoise(as_images(x), timesteps, steered.embeds, steered.pooled, steered.person)
        x = step.a * x + step.b * velocity.float()
    return Drafts(batch, x)


def crops(pictures: Tensor, landmarks: list[np.ndarray]) -> Tensor:
    """The recogniser's crops [N, 3, 112, 112] of [N, 3, S, S], with gradients."""
    side = pictures.shape[-1]
    u, v = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    places = np.stack([u.ravel(), v.ravel(), np.ones(SIZE * SIZE)])  # [3, pixels of a crop]
    grids = []
    for points in landmarks:
        matrix = np.vstack([similarity(points, SIZE), [0, 0, 1]])
        x, y, _ = np.linalg.inv(matrix) @ places
        grids.append(np.stack([x, y], axis=-1).reshape(SIZE, SIZE, 2) * 2 / (side - 1) - 1)
    grid = torch.from_numpy(np.stack(grids)).float()
    return F.grid_sample(pictures, grid, align_corners=True).contiguous(memory_format=torch.channels_last)
