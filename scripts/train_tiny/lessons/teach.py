"""How the generator is taught: every item is seen twice, as a sampler sees it.

First as noise alone, then at a later timestep, where most often its own first guess is what was noised. So the network
learns at the timesteps of trailing samplers, and to mend what it got wrong before: few steps and no guidance are
enough, and more steps do no harm.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scripts.train_tiny.lessons.cache import read_lessons
from scripts.train_tiny.lessons.classroom import ITEMS, Classroom, LessonBatch, People, as_images
from scripts.train_tiny.lessons.generator import SCHEDULER, Generator, Person, encoder_shape
from scripts.train_tiny.lessons.instant import Instant, PlacedItems
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.reader import LatentReader, reading_loss, trained_reader
from scripts.train_tiny.lessons.text import read_tokenizers
from scripts.train_tiny.lessons.tower import clip_normalised
from scripts.train_tiny.lessons.trainer import Trainer, channels_last, seeded

READING, FEELING = 0.03, 0.15  # weights of the reader's two losses beside the velocity's
BROAD = 4.0  # of the error in squares of 64 pixels, which detail drowns: light and tone
LEAST_NOISE = 0.15  # an error of the guess at timestep t weighs 1 / noise share, at most 1 / this
BLUR = 0.08  # noise on embeddings, whose numbers have unit spread: a few thousand people must stand for all others
FIRST = 999
ROLLED = 0.6  # share of second looks at the own guess; the others are at the noised truth
# Second looks: the rest of the trailing grids of 4 steps, 8, and 2 (which is part of them); what is left is uniform.
TIMESTEPS = (749, 499, 249, 874, 624, 374, 124)
TIMESTEP_ODDS = (0.27, 0.22, 0.18, 0.05, 0.05, 0.05, 0.05)


@dataclass(frozen=True, slots=True)
class Steered:
    """What steers the network for all of a batch."""

    embeds: Tensor  # [B, 77, D]
    pooled: Tensor  # [B, P]
    person: Person | None


class Looks:
    """Shows a batch to the generator, twice. Belongs to one training loop."""

    def __init__(self, generator: Generator, reader: LatentReader, rng: np.random.Generator) -> None:
        self._generator = generator
        self._reader = reader
        self._rng = rng
        self._signal, self._noise = signal_rates()

    def __call__(self, batch: LessonBatch) -> dict[str, Tensor]:
        """What is wrong with both guesses of the clean latents."""
        steered = steer(self._generator, batch, self._rng)
        # A sampler starts from noise alone, while the schedule's last timestep still holds 7 % of the picture.
        noise = torch.randn_like(batch.latents)
        start = as_images(self._noise[FIRST] * noise)
        guess, first = self._look(start, torch.full((ITEMS,), FIRST), steered, batch)
        own = guess.detach()
        rolled = torch.from_numpy(self._rng.random((ITEMS, 1, 1, 1)) < ROLLED)
        seen = torch.where(rolled, own, batch.latents)
        left = torch.where(rolled, (start - self._signal[FIRST] * own) / self._noise[FIRST], noise)
        later = _draw_timesteps(ITEMS, self._rng)
        a, s = self._rates(later)
        _, second = self._look(as_images(a * seen + s * left), later, steered, batch)
        return {name: first[name] + second[name] for name in first}

    def _look(
        self, x: Tensor, timesteps: Tensor, steered: Steered, batch: LessonBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The clean latents that the network reads out of `x` at `timesteps`, and what is wrong with them."""
        a, s = self._rates(timesteps)
        with short_numbers(), sdpa_kernel(SDPBackend.MATH):  # fused ones train slowly
            velocity = self._generator.denoise(x, timesteps, steered.embeds, steered.pooled, steered.person).float()
        guess = as_images(a * x - s * velocity)
        gap = guess - batch.latents
        wrong = (gap.square() * batch.weight / s.square().clamp(min=LEAST_NOISE)).mean()  # as a velocity's error
        broad = BROAD * F.avg_pool2d(gap, 4).square().mean()
        return guess, {"velocity": 0.5 * wrong, "broad": 0.5 * broad, **_reader_losses(self._reader, guess, batch)}

    def _rates(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of signal and noise, [B, 1, 1, 1] each."""
        return self._signal[timesteps].view(-1, 1, 1, 1), self._noise[timesteps].view(-1, 1, 1, 1)


def train_generator(shards: Path, cache: Path, text: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(8, folder, "generator", join())
    tokenizers = read_tokenizers(text)
    generator = Generator(tokenizers)
    channels_last(generator.unet)
    channels_last(generator.instant)
    looks = Looks(generator, trained_reader(folder), rng)
    tokens = encoder_shape().tokens_per_picture
    classroom = Classroom(read_lessons(shards, cache), tokenizers[0], rng, tokens=tokens)
    Trainer("generator", generator, folder, rate=1.2e-3).run(lambda step: looks(classroom.draw()), budget_seconds)


def steer(generator: Generator, batch: LessonBatch, rng: np.random.Generator) -> Steered:
    with short_numbers(), sdpa_kernel(SDPBackend.MATH):
        embeds, pooled = conditioned(generator, batch.ids, batch.second_ids, batch.people, rng)
        return Steered(embeds, pooled, _instant_person(generator.instant, batch.placed, rng))


def conditioned(
    generator: Generator, ids: Tensor, second_ids: Tensor, people: People, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The prompts, encoded, with the people in them."""
    embeds, pooled = generator.encode_text(ids, second_ids)
    encoder = generator.id_encoder
    if people.pixels:
        known = torch.stack([embedding.float() for embedding in people.embeddings])
        tokens = encoder(relit(people.pixels, rng), known + BLUR * torch.randn_like(known)).flatten(0, 1)
        where = (torch.tensor(people.rows), torch.tensor(people.columns))
        fused = encoder.fuse_module(embeds[where], tokens[torch.tensor(people.tokens)])  # [M, D]
        embeds = embeds.index_put(where, fused.to(embeds.dtype))
    return embeds, pooled


def relit(pixels: list[Tensor], rng: np.random.Generator) -> Tensor:
    """Selfies of uint8, exposed a little otherwise -> CLIP's numbers [N, 3, 112, 112].

    A little only: brightness says how light the skin is, and the face vector was taught to look past it.
    """
    gain = rng.uniform(0.97, 1.03, (len(pixels), 1, 1, 1)) * rng.uniform(0.985, 1.015, (len(pixels), 3, 1, 1))
    return clip_normalised((torch.stack(pixels).float() / 255 * torch.from_numpy(gain).float()).clamp(0, 1))


def signal_rates() -> tuple[Tensor, Tensor]:
    """Per timestep the shares of signal and noise, [1000] each."""
    roots = torch.linspace(SCHEDULER["beta_start"] ** 0.5, SCHEDULER["beta_end"] ** 0.5, 1000)
    kept = torch.cumprod(1 - roots**2, 0)
    return kept.sqrt(), (1 - kept).sqrt()


def _reader_losses(reader: LatentReader, guess: Tensor, batch: LessonBatch) -> dict[str, Tensor]:
    """What the reader makes of `guess` [B, C, 16, 16]: is it the right person, and does it feel the same?"""
    with short_numbers():
        logits, measures, felt = reader(guess)
        with torch.no_grad():
            *_, meant = reader(batch.latents)
    wrong = reading_loss(logits, measures, batch.classes, batch.measures)
    apart = [(f.float() - m.float()).square().mean((1, 2, 3)) for f, m in zip(felt, meant, strict=True)]
    readable = batch.readable.float()
    return {
        "reading": 0.5 * READING * (wrong * readable).mean(),
        "feeling": 0.5 * FEELING * (torch.stack(apart).sum(0) * readable).mean(),
    }


def _instant_person(instant: Instant, placed: PlacedItems, rng: np.random.Generator) -> Person | None:
    if not placed.rows:
        return None
    rows, tokens = torch.tensor(placed.rows), instant.tokens(placed, BLUR)
    return Person(rows, tokens, instant.hints(placed, rng), instant.image(tokens, rows, ITEMS))


def _draw_timesteps(number: int, rng: np.random.Generator) -> Tensor:
    odds = np.array(TIMESTEP_ODDS)
    grid = rng.choice(TIMESTEPS, size=number, p=odds / odds.sum())
    uniform = rng.integers(0, 1000, size=number)
    return torch.from_numpy(np.where(rng.random(number) < odds.sum(), grid, uniform))
