"""A reader of latents: it names who and what is drawn, without decoding. It teaches the generator, it judges nothing.

Squared error alone lets small things go: an iris is one latent of 256, and grey hair that turns blonde costs little.
The reader sees such things at once. While the generator trains, its guess of the clean latents is shown to the reader,
which must read the factors of the right person there and feel as it does about the true portrait (a perceptual loss in
latent space, as in arXiv 2401.00110). Evaluation uses other networks that look at pixels.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scripts.train_tiny.drawing.person import CATEGORIES, MEASURES
from scripts.train_tiny.drawing.style import STYLE_FACTORS, style_classes
from scripts.train_tiny.lessons.cache import Portraits, read_portraits
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.recogniser import Residual
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, channels_last, seeded
from scripts.train_tiny.lessons.vae import LATENT_CHANNELS

WIDTHS = (64, 96, 160)
BATCH = 96
NOISE = 0.6  # the most, of unit-spread latents: the generator's early guesses are rough


class LatentReader(nn.Module):
    """[B, C, 16, 16] -> logits of every factor of person and style, the person's measures, and features."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.fine = nn.Sequential(nn.Conv2d(LATENT_CHANNELS, first, 3, 1, 1), nn.ReLU(), Residual(first, first))
        self.middle = nn.Sequential(Residual(first, second, 2), Residual(second, second))
        self.coarse = nn.Sequential(Residual(second, third, 2), Residual(third, third))  # [B, 160, 4, 4]
        self.sizes = [*CATEGORIES.values(), *(len(names) for names in STYLE_FACTORS.values()), len(MEASURES)]
        self.read = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.1), nn.Linear(third * 16, 256), nn.ReLU(), nn.Linear(256, sum(self.sizes))
        )

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor, list[Tensor]]:
        """Logits in CATEGORIES' and STYLE_FACTORS' order, measures [B, numbers], and the features of three scales."""
        fine = self.fine(x)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        *logits, measures = self.read(coarse).float().split(self.sizes, dim=1)
        return logits, measures, [fine, middle, coarse]


def reading_loss(logits: list[Tensor], measures: Tensor, classes: Tensor, numbers: Tensor) -> Tensor:
    """Per row [B]: cross-entropies over `classes` [B, heads] and squared errors against `numbers` [B, measures]."""
    named = [F.cross_entropy(one, classes[:, i], reduction="none") for i, one in enumerate(logits)]
    return torch.stack(named).sum(0) + (measures - numbers).square().sum(1)


class LatentPool:
    """All cached portraits, to draw batches from."""

    def __init__(self, shards: list[Portraits]) -> None:
        each = shards[0].latents.shape[1]
        self.latents = torch.cat([shard.latents.flatten(0, 1) for shard in shards])
        styles = torch.tensor([style_classes(style) for shard in shards for style in shard.styles])
        factors = torch.cat([shard.categories for shard in shards]).repeat_interleave(each, 0)
        self.classes = torch.cat([factors, styles], dim=1)
        self.measures = torch.cat([shard.measures for shard in shards]).repeat_interleave(each, 0)


def train_reader(shards: Path, cache: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(9, folder, "reader", join())
    pool, reader = LatentPool(read_portraits(shards, cache)), channels_last(LatentReader())

    def loss_of(step: int) -> dict[str, Tensor]:
        chosen = torch.from_numpy(rng.integers(len(pool.latents), size=BATCH))
        clean = pool.latents[chosen].float()
        noisy = clean + NOISE * torch.rand(BATCH, 1, 1, 1).square() * torch.randn_like(clean)
        with short_numbers():
            logits, measures, _ = reader(noisy.contiguous(memory_format=torch.channels_last))
        return {"reading": 0.3 * reading_loss(logits, measures, pool.classes[chosen], pool.measures[chosen]).mean()}

    Trainer("reader", reader, folder, rate=2e-3, decay=0.05, average=0.99).run(loss_of, budget_seconds)


def trained_reader(folder: Path) -> LatentReader:
    reader = LatentReader()
    reader.load_state_dict(averaged_state(folder, "reader"))
    return channels_last(reader).eval().requires_grad_(False)
