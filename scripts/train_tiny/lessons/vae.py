"""The autoencoder: 256x256 pictures to 16x16 latents of unit spread and back (diffusers' AutoencoderTiny).

First four levels on crops of half-size pictures; then a fifth level at full size, on faces and on whole pictures:
whole ones, because crops alone teach a dark frame at their borders. Latents get noise, because a sampler's are never
exact; with a quarter of their spread, as in the first bundle, eyes had no room left in them (27 dB at best).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn

from scripts.train_tiny.drawing.person import care_for
from scripts.train_tiny.drawing.shards import PORTRAITS
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.recogniser import to_planes
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, channels_last, seeded

LEVELS = 5  # so latents are 16 times smaller
WIDTH = 32
LATENT_CHANNELS = 16
HALF = 128  # the first stage sees pictures at half size, at a quarter of the cost
CROP = 64
CROPS = 14
WHOLE = 256
LATENT_SIZE = WHOLE >> (LEVELS - 1)
FACES = 6  # crops of HALF pixels
IRIS, IRIS_SPREAD = 25.0, 5.0  # weight beside 1 for any pixel; pixels of 256
NOISE, LATER_NOISE = 0.06, 0.12  # of unit-spread latents; the second is the most, half of it the average


def build_vae(levels: int = LEVELS) -> AutoencoderTiny:
    """silu, because half of the encoder's channels die with relu at these rates."""
    outer = levels - 4
    return AutoencoderTiny(
        encoder_block_out_channels=(WIDTH,) * levels,
        decoder_block_out_channels=(WIDTH,) * levels,
        num_encoder_blocks=(*[0] * outer, 0, 1, 2, 2),
        num_decoder_blocks=(4, 4, 3, 1, *[0] * outer),
        latent_channels=LATENT_CHANNELS,
        act_fn="silu",
    )


@torch.no_grad()
def start_from_averages(vae: AutoencoderTiny) -> None:
    """Begin as a network that shrinks a picture sixteen times and enlarges it again.

    Three channels carry red, green and blue all the way; ReLUs let them through because they are positive. From random
    weights colours took more than a thousand steps to appear; from here only detail is left to learn.
    """
    encoder, decoder = _convolutions(vae.encoder), _convolutions(vae.decoder)
    for i, convolution in enumerate(encoder):
        _carry(convolution, torch.full((2, 2), 0.25) if i and i < len(encoder) - 1 else torch.ones(1, 1))
    for convolution in decoder:
        _carry(convolution, torch.ones(1, 1))
    for block in [m for m in vae.modules() if isinstance(m, AutoencoderTinyBlock)]:
        last = block.conv[-1]
        assert isinstance(last, nn.Conv2d)
        last.weight[:3] = 0
        last.weight.mul_(0.3)
        _bias(last)[:3] = 0
    contrast = 3.5  # latents of about unit spread
    encoder[-1].weight[:3] *= contrast
    encoder[-1].weight[3:] *= 8  # else what they carry drowns in the noise
    _bias(encoder[-1])[:3] = -0.45 * contrast
    decoder[0].weight[:3] /= contrast
    _bias(decoder[0])[:3] = 0.45
    decoder[-1].weight[:3] *= 1.4  # silu(x) is about x / 1.4 from 0 to 1


def _convolutions(half: nn.Module) -> list[nn.Conv2d]:
    """Those outside of blocks, in order."""
    return [layer for layer in half.get_submodule("layers").children() if isinstance(layer, nn.Conv2d)]


def _carry(convolution: nn.Conv2d, kernel: Tensor) -> None:
    """Let the first three channels through, averaged by `kernel`, and keep the others out of them."""
    convolution.weight[:3] = 0
    for channel in range(3):
        convolution.weight[channel, channel, 1 : 1 + len(kernel), 1 : 1 + len(kernel)] = kernel
    if convolution.bias is not None:
        convolution.bias[:3] = 0


def _bias(convolution: nn.Conv2d) -> Tensor:
    assert convolution.bias is not None
    return convolution.bias


def encode(vae: AutoencoderTiny, x: Tensor) -> Tensor:
    return vae.encode(x, return_dict=False)[0]  # pyright: ignore[reportIndexIssue]


def decode(vae: AutoencoderTiny, z: Tensor) -> Tensor:
    return vae.decode(z, return_dict=False)[0]  # pyright: ignore[reportIndexIssue]


def draw_portraits(pool: Pool, number: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """[N, 3, 256, 256] in -1..1, and how much each of their pixels matters, [N, 1, 256, 256]."""
    chosen = [(shard, p, int(rng.integers(PORTRAITS))) for shard, p in pool.people(number)]
    pictures = to_planes([shard.portrait(p, k) for shard, p, k in chosen]) * 2 - 1
    irises = torch.stack([iris_weight(shard.portrait_landmarks[p, k], WHOLE) for shard, p, k in chosen])
    cares = torch.tensor([care_for(shard.measures[p]) for shard, p, _ in chosen]).view(-1, 1, 1, 1)
    return pictures, 1 + cares * (face_weight(WHOLE) - 1) + irises


def iris_weight(landmarks: np.ndarray, size: int) -> Tensor:
    """[1, size, size]: bumps of height IRIS at both eyes; without them a colour of a few pixels is never learnt."""
    x, y = torch.arange(size)[None], torch.arange(size)[:, None]
    bumps = [torch.exp(-((x - eye[0]) ** 2 + (y - eye[1]) ** 2) / (2 * IRIS_SPREAD**2)) for eye in landmarks[:2]]
    return IRIS * (bumps[0] + bumps[1])[None].float()


def face_weight(size: int) -> Tensor:
    """[1, 1, size, size]: the face counts double, the eyes seven times; portraits have them in one place."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    face = torch.exp(-((x / 0.45) ** 2 + (y / 0.5) ** 2))
    eyes = torch.exp(-((x / 0.34) ** 2 + ((y + 0.13) / 0.14) ** 2))
    return (1 + face + 5 * eyes)[None, None]


def picture_loss(made: Tensor, wanted: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Pixels, edges and two colour terms: without the last, green and magenta are learnt too late to matter."""
    gap = made - wanted
    edges = (gap[..., 1:] - gap[..., :-1]).abs().mean() + (gap[..., 1:, :] - gap[..., :-1, :]).abs().mean()
    broad = F.avg_pool2d(gap, 4)
    chroma = broad[:, 1:2] - (broad[:, :1] + broad[:, 2:]) / 2
    matters = F.avg_pool2d(weight, 4)  # small and far from grey: an iris is lost first
    return {
        "pixels": (weight * (gap.abs() + gap.square())).mean(),
        "edges": 0.8 * edges,
        "tone": 2 * (matters * broad.abs()).mean(),
        "chroma": (matters * (5 * chroma.abs() + 8 * chroma.square())).mean(),
    }


def train_vae(shards: Path, folder: Path, budget_seconds: float) -> None:
    """Four levels on half-size pictures: the latents are final after this."""
    rng, _ = seeded(3, folder, "vae")
    pool, vae = Pool(shards, rng), build_vae(LEVELS - 1)
    start_from_averages(vae)
    channels_last(vae)
    weight = face_weight(HALF)

    def loss_of(step: int) -> dict[str, Tensor]:
        pictures = halved(draw_portraits(pool, CROPS // 2, rng)[0])
        places = [_crop_place(rng) for _ in range(CROPS)]
        crops = [pictures[i // 2, :, y : y + CROP, x : x + CROP] for i, (y, x) in enumerate(places)]
        wanted = torch.stack(crops).contiguous(memory_format=torch.channels_last)
        weights = torch.stack([weight[0, :, y : y + CROP, x : x + CROP] for y, x in places])
        with short_numbers():
            latents = encode(vae, wanted)
            made = decode(vae, latents + NOISE * torch.randn_like(latents))
        latents = latents.float()
        spread = (latents.std((0, 2, 3)) - 1).square().mean() + latents.mean((0, 2, 3)).square().mean()
        return {**picture_loss(made.float(), wanted, weights), "spread": 0.05 * spread}

    Trainer("vae", vae, folder, rate=1.5e-3, decay=1e-4, average=0.99).run(loss_of, budget_seconds)


def halved(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures, scale_factor=0.5, mode="area")


@torch.no_grad()
def latent_vae(shards: Path, folder: Path) -> AutoencoderTiny:
    """The first stage's result, each latent channel's mean and spread folded into the encoder's last convolution."""
    vae = build_vae(LEVELS - 1)
    vae.load_state_dict(averaged_state(folder, "vae"))
    rng = np.random.default_rng(4)
    latents = encode(vae, halved(draw_portraits(Pool(shards, rng), 96, rng)[0]))
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    last = vae.encoder.layers[-1]
    assert isinstance(last, nn.Conv2d)
    last.weight.div_(spread.view(-1, 1, 1, 1))
    _bias(last).sub_(mean).div_(spread)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def widened(half: AutoencoderTiny) -> AutoencoderTiny:
    """Five levels from four: an outermost level that halves and doubles, everything else as it was."""
    vae = build_vae()
    inner, outer = list(half.encoder.layers), list(vae.encoder.layers)
    for old, new in zip(inner[1:], outer[2:], strict=True):
        new.load_state_dict(old.state_dict())
    first, second, was = outer[0], outer[1], inner[0]
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    assert isinstance(was, nn.Conv2d)
    _carry(first, torch.ones(1, 1))
    first.weight[3] = 0  # a channel of ones carries the bias that the second convolution lacks
    _bias(first)[3] = 1
    second.weight.mul_(0.1)
    second.weight[:, :3] = was.weight
    second.weight[:, 3] = 0
    second.weight[:, 3, 1, 1] = _bias(was)
    inner, outer = list(half.decoder.layers), list(vae.decoder.layers)
    for old, new in zip([*inner[:-1], inner[-1]], [*outer[: len(inner) - 1], outer[-1]], strict=True):
        new.load_state_dict(old.state_dict())
    doubling = outer[len(inner)]
    assert isinstance(doubling, nn.Conv2d)
    nn.init.dirac_(doubling.weight)
    return vae


def train_decoder(shards: Path, folder: Path, budget_seconds: float) -> None:
    """Five levels at full size, encoder and decoder together; the latents are final after this.

    What decoders learn beyond is in discriminator.py and polish.py.
    """
    resumed = (folder / "decoder.pt").exists()
    vae = build_vae() if resumed else widened(latent_vae(shards, folder))
    _train_whole("decoder", vae, shards, folder, budget_seconds)


def _train_whole(name: str, vae: AutoencoderTiny, shards: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(5, folder, name, join())
    pool = Pool(shards, rng)
    channels_last(vae)

    def loss_of(step: int) -> dict[str, Tensor]:
        seen = redraw(vae, pool, step, rng)
        return {**seen.losses(), "spread": 0.5 * seen.spread()}

    Trainer(name, vae, folder, rate=1.2e-3, decay=1e-4, average=0.99).run(loss_of, budget_seconds)


@dataclass(frozen=True, slots=True)
class Redrawn:
    """Drawn portraits or crops of their faces, and what came back of them."""

    drawn: Tensor  # [N, 3, S, S] in -1..1
    made: Tensor
    weights: Tensor  # [N, 1, S, S] or one for all
    latents: Tensor  # as encoded

    def losses(self) -> dict[str, Tensor]:
        return picture_loss(self.made, self.drawn, self.weights)

    def spread(self) -> Tensor:
        """How far the latents are from mean 0 and spread 1."""
        return (self.latents.std((0, 2, 3)) - 1).square().mean() + self.latents.mean((0, 2, 3)).square().mean()


def redraw(vae: AutoencoderTiny, pool: Pool, step: int, rng: np.random.Generator) -> Redrawn:
    """Through latents with noise: faces mostly, every third step whole pictures."""
    drawn, weights = draw_portraits(pool, 2, rng) if step % 3 == 0 else _faces(pool, rng)
    drawn = drawn.contiguous(memory_format=torch.channels_last)
    with short_numbers():
        latents = encode(vae, drawn)
        noise = LATER_NOISE * torch.rand(len(latents), 1, 1, 1) * torch.randn_like(latents)
        made = decode(vae, latents + noise)
    return Redrawn(drawn, made.float(), weights, latents.float())


def _faces(pool: Pool, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Crops of half the side that have most of a face, and how much each of their pixels matters."""
    pictures, everywhere = draw_portraits(pool, FACES, rng)
    places = [_face_place(rng) for _ in range(FACES)]

    def cropped(whole: Tensor) -> Tensor:
        return torch.stack([whole[i, :, y : y + HALF, x : x + HALF] for i, (y, x) in enumerate(places)])

    return cropped(pictures), cropped(everywhere)


def trained_vae(folder: Path) -> AutoencoderTiny:
    """As far as it has come: stages after `decoder` leave the encoder as it is."""
    vae = build_vae()
    name = next(name for name in ("polish", "sharper", "decoder") if (folder / f"{name}.pt").exists())
    state = averaged_state(folder, name)
    vae.load_state_dict({k.removeprefix("vae."): v for k, v in state.items() if not k.startswith("discriminator.")})
    return vae.eval().requires_grad_(False)


def _face_place(rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop of half the picture's side that has most of the face, on the latent grid."""
    return int(rng.integers(2, 5)) * 16, int(rng.integers(2, 7)) * 16


def _crop_place(rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop on the latent grid; six in ten on the face."""
    if rng.random() < 0.6:
        return int(rng.integers(0, 5)) * 8, int(rng.integers(2, 7)) * 8
    return int(rng.integers(0, 9)) * 8, int(rng.integers(0, 9)) * 8
