"""The decoder against a discriminator: what it needs to hear that it draws edges and not their mean.

A decoder of squared and absolute errors answers every doubt with a blur. A patch discriminator (Isola et al. 2017,
https://arxiv.org/abs/1611.07004) with spectral norms (Miyato et al. 2018, https://arxiv.org/abs/1802.05957) and hinge
losses asks for pictures that could have been drawn. It learns beside the decoder, in the same step of one optimizer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, channels_last, seeded
from scripts.train_tiny.lessons.vae import redraw, trained_vae

WIDTHS = (32, 64, 96)  # of the levels, each half the size of the one before
# Weights of the decoder's two terms beside the errors of `vae.picture_loss`.
FOOLING, TEXTURE = 0.05, 10.0
SLOPE = 10.0  # of the score: with a slope of 1 the small gap between a drawing and its blur is never told


class Discriminator(nn.Module):
    """Pictures [N, 3, H, W] in -1..1 to features of every level and a score of each patch, higher if it seems drawn."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.levels = nn.ModuleList(
            spectral_norm(nn.Conv2d(narrow, wide, 4, stride=2, padding=1))
            for narrow, wide in zip(widths, WIDTHS, strict=False)
        )
        self.judge = nn.Sequential(
            spectral_norm(nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, padding=1)),
            nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 3, padding=1)),
        )

    def forward(self, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
        features: list[Tensor] = []
        for level in self.levels:
            pictures = F.leaky_relu(level(pictures), 0.2)
            features.append(pictures)
        return features, SLOPE * self.judge(pictures)


class Contest(nn.Module):
    """A decoder and its discriminator, so that one trainer teaches, averages and saves both."""

    def __init__(self, vae: AutoencoderTiny) -> None:
        super().__init__()
        self.vae = vae
        self.discriminator = Discriminator()

    def terms(self, made: Tensor, drawn: Tensor, fooling: float = FOOLING) -> dict[str, Tensor]:
        """What is wrong with both sides, of pictures `made` that should be those `drawn`: [N, 3, H, W] each, in -1..1.

        `fooling` weighs the score alone: high where nothing else holds the pixels, it makes a decoder draw dots.
        """
        with _fixed(self.discriminator), short_numbers():
            felt, scores = self.discriminator(made)
            with torch.no_grad():
                meant, _ = self.discriminator(drawn)
        apart = [(f.float() - m.float()).abs().mean() for f, m in zip(felt, meant, strict=True)]
        return {
            "texture": TEXTURE * torch.stack(apart).mean(),
            "fooling": -fooling * scores.float().mean(),
            "telling": self._telling(made, drawn),
        }

    def _telling(self, made: Tensor, drawn: Tensor) -> Tensor:
        with short_numbers():
            _, scores = self.discriminator(torch.cat([drawn, made.detach()]))
        real, fake = scores.float().split([len(drawn), len(made)])
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def sharpen_decoder(shards: Path, folder: Path, budget_seconds: float) -> None:
    """The decoder alone, against its discriminator, for as long as one likes: nothing else depends on it."""
    rng, _ = seeded(6, folder, "sharper", join())
    pool, contest = Pool(shards, rng), begin_contest(folder)

    def loss_of(step: int) -> dict[str, Tensor]:
        seen = redraw(contest.vae, pool, step, rng)
        return seen.losses() | contest.terms(seen.made, seen.drawn)

    Trainer("sharper", contest, folder, rate=6e-4, decay=1e-4, average=0.99).run(loss_of, budget_seconds)


def begin_contest(folder: Path) -> Contest:
    """With the decoder, and the discriminator if there is one, as far as they have come. The encoder stays."""
    contest = Contest(trained_vae(folder))
    if (folder / "sharper.pt").exists():
        contest.load_state_dict(averaged_state(folder, "sharper"))
    contest.vae.decoder.requires_grad_(True)
    return channels_last(contest.train())


@contextmanager
def _fixed(module: nn.Module) -> Iterator[None]:
    """Gradients pass through and leave none behind."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
