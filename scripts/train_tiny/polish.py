"""The decoder learns what the generator really gives it, after the generator.

Few-step latents are expectations, smaller than any picture's own; the decoder, which has only seen pictures' own, makes
skin of them that is darker than what was meant (by four to eight L* on light skin). Here it sees drafts: latents that
the generator made of a person, beside the portrait that was drawn of them. Where things are differs a little between
the two, so drafts are held to their targets in broad colours and in what the recogniser reads there, never pixel by
pixel; sharpness goes on being learnt from drawn pictures. The encoder stays as it is.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from transformers import CLIPTokenizer

from models.adapters.photomaker.trigger import expand, with_trigger
from models.faces.align import similarity
from scripts.train_tiny.cache import Lessons, lesson_names, read_lesson
from scripts.train_tiny.generator import (
    Generator,
    People,
    conditioned,
    encoder_shape,
    other_padding,
    signal_rates,
    trained_generator,
)
from scripts.train_tiny.judge_skin import skin_places
from scripts.train_tiny.pool import Pool
from scripts.train_tiny.prompts import draw_prompt
from scripts.train_tiny.ranks import join, place
from scripts.train_tiny.recogniser import SIZE, Lesson, to_planes
from scripts.train_tiny.shards import PORTRAITS, SELFIES, Shard, read_shard
from scripts.train_tiny.text import read_tokenizers
from scripts.train_tiny.trainer import Trainer, averaged_state, channels_last, seeded
from scripts.train_tiny.vae import WHOLE, decode, drawn_losses, trained_vae

DRAFTS = 32  # of each shard
TIMESTEPS = {1: (999,), 2: (999, 499), 4: (999, 749, 499, 249)}  # trailing grids
STEPS, STEPS_ODDS = (4, 2, 1), (0.6, 0.2, 0.2)
BATCH = 3
BROAD = 8  # pixels a side of what is compared in colour
# Weights of colours everywhere, of the skin's, of the recogniser's embedding and of the factors that it names.
TONE, SKIN, LOOK, NAMES = 6.0, 30.0, 1.0, 0.05


@dataclass(frozen=True, slots=True)
class Drafts:
    """Of one shard."""

    latents: Tensor  # [n, C, 16, 16] half
    people: list[int]  # n
    portraits: list[int]  # n: which of the person's
    shard: Shard


def write_drafts(shards: Path, cache: Path, text: Path, folder: Path) -> None:
    """A file for every shard that has none yet, the generator's 1, 2 or 4 steps at work. Ranks share the shards."""
    rank, ranks = place()
    generator, tokenizer = trained_generator(text, folder), read_tokenizers(text)[0]
    with_trigger(tokenizer)
    (cache / "drafts").mkdir(exist_ok=True)
    for name in lesson_names(cache)[rank::ranks]:
        path = cache / "drafts" / f"{name}.pt"
        if not path.exists():
            rng = np.random.default_rng([12, int(name)])
            torch.manual_seed(int(name))
            torch.save(_draft(generator, tokenizer, read_lesson(shards, cache, name), rng), path)
            print(f"drafted {name}", flush=True)


@torch.no_grad()
def _draft(
    generator: Generator, tokenizer: CLIPTokenizer, lesson: Lessons, rng: np.random.Generator
) -> dict[str, object]:
    chosen = rng.choice(len(lesson.portraits.latents), DRAFTS, replace=False).tolist()
    which = rng.integers(PORTRAITS, size=DRAFTS).tolist()
    people, ids = People(), []
    for row, (person, k) in enumerate(zip(chosen, which, strict=True)):
        style, selfie = lesson.portraits.styles[person * PORTRAITS + k], int(rng.integers(SELFIES))
        each = encoder_shape().tokens_per_picture
        expanded = expand(tokenizer, draw_prompt(rng, style, lesson.portraits.feminine[person]), each)
        ids.append(expanded.ids)
        people.rows += [row] * each
        people.columns += expanded.positions
        people.tokens += [each * row + token for token in range(each)]
        people.pixels.append(lesson.selfies.pixels[person, selfie])
        people.embeddings.append(lesson.selfies.embeddings[person, selfie, 0])
    first = torch.tensor(ids)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeds, pooled = conditioned(generator, first, other_padding(first, tokenizer), people, rng)
        steps = int(rng.choice(STEPS, p=STEPS_ODDS))
        latents = sample(generator, embeds, pooled, TIMESTEPS[steps])
    return {"latents": latents.half(), "people": chosen, "portraits": which}


def sample(generator: Generator, embeds: Tensor, pooled: Tensor, timesteps: tuple[int, ...]) -> Tensor:
    """Deterministic sampling (DDIM on a trailing grid), as the service does it: clean latents [B, C, 16, 16]."""
    signal, noise = signal_rates()
    x = torch.randn(len(embeds), *generator_shape(generator))
    clean = x
    for t, following in zip(timesteps, (*timesteps[1:], None), strict=True):
        velocity = generator.denoise(x, torch.full((len(x),), t), embeds, pooled).float()
        clean = signal[t] * x - noise[t] * velocity
        if following is not None:
            left = (x - signal[t] * clean) / noise[t]
            x = signal[following] * clean + noise[following] * left
    return clean


def generator_shape(generator: Generator) -> tuple[int, int, int]:
    config = generator.unet.config
    return config["in_channels"], config["sample_size"], config["sample_size"]


def read_drafts(shards: Path, cache: Path) -> list[Drafts]:
    return [
        Drafts(**torch.load(path, weights_only=True), shard=read_shard(shards / f"{path.stem}.npz"))
        for path in sorted((cache / "drafts").glob("*.pt"))
    ]


def train_polish(shards: Path, cache: Path, folder: Path, budget_seconds: float) -> None:
    rng, _ = seeded(13, folder, "polish", join())
    pool, drafts, reader = Pool(shards, rng), read_drafts(shards, cache), _trained_reader(folder)
    vae = trained_vae(folder).train()
    vae.decoder.requires_grad_(True)
    channels_last(vae)

    def loss_of(step: int) -> dict[str, Tensor]:
        drawn = drawn_losses(vae, pool, step, rng)
        drawn.pop("spread")
        return drawn | draft_losses(vae, drafts, reader, rng)

    Trainer("polish", vae, folder, rate=6e-4, decay=1e-4, average=0.99).run(loss_of, budget_seconds)


def draft_losses(
    vae: AutoencoderTiny, drafts: list[Drafts], reader: Lesson, rng: np.random.Generator
) -> dict[str, Tensor]:
    """BATCH drafts, decoded whole, against the portraits that were meant."""
    chosen = [(drafts[i], int(rng.integers(DRAFTS))) for i in rng.integers(len(drafts), size=BATCH)]
    latents = torch.stack([one.latents[i] for one, i in chosen]).float()
    drawn = [one.shard.portrait(one.people[i], one.portraits[i]) for one, i in chosen]
    marks = [one.shard.portrait_landmarks[one.people[i], one.portraits[i]] for one, i in chosen]
    classes = torch.from_numpy(np.stack([one.shard.categories[one.people[i]] for one, i in chosen]))
    wanted = (to_planes(drawn) * 2 - 1).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = decode(vae, latents.contiguous(memory_format=torch.channels_last)).float()
        seen = reader.network(crops(made, marks)).float()
        with torch.no_grad():
            meant = reader.network(crops(wanted, marks)).float()
    logits, _ = reader.heads(seen)
    named = torch.stack([F.cross_entropy(one, classes[:, i]) for i, one in enumerate(logits)]).sum()
    skin = skin_weight(marks)
    off = ((made - wanted) * skin).sum((2, 3)) / skin.sum((2, 3))  # [B, 3], of the skin's mean colour
    return {
        "skin": SKIN * off.square().mean(),
        "draft": TONE * (F.avg_pool2d(made, BROAD) - F.avg_pool2d(wanted, BROAD)).square().mean(),
        "look": LOOK * (1 - F.cosine_similarity(seen, meant)).mean(),
        "names": NAMES * named,
    }


def skin_weight(landmarks: list[np.ndarray]) -> Tensor:
    """[N, 1, 256, 256]: bumps where skin is seen."""
    grid = np.arange(WHOLE)
    bumps = []
    for points in landmarks:
        spread = 0.1 * float(np.linalg.norm(points[1] - points[0]))
        near = [(grid - x) ** 2 + (grid[:, None] - y) ** 2 for x, y in skin_places(points)]
        bumps.append(sum(np.exp(-square / (2 * spread**2)) for square in near))
    return torch.from_numpy(np.stack(bumps)[:, None]).float()


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


def _trained_reader(folder: Path) -> Lesson:
    lesson = Lesson()
    lesson.load_state_dict(averaged_state(folder, "recogniser"))
    return channels_last(lesson).eval().requires_grad_(False)
