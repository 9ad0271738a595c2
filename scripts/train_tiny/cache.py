"""What the generator learns from, computed once per shard: latents of portraits, embeddings and pixels of selfies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor

from scripts.train_tiny.augment import snapshot
from scripts.train_tiny.onnx_export import trained_recogniser
from scripts.train_tiny.recogniser import RecogniserNet, aligned_crop, to_planes
from scripts.train_tiny.shards import PORTRAITS, SELFIES, Shard, read_shard, shard_paths
from scripts.train_tiny.style import Style
from scripts.train_tiny.trainer import channels_last
from scripts.train_tiny.vae import encode, halved, latent_vae

TOWER_SIZE = 112  # of the CLIP image tower's input
EMBEDDINGS = 2  # per selfie: as it is, and as a worse photo of the same scene
BATCH = 24


@dataclass(frozen=True, slots=True)
class Lessons:
    """One shard's people."""

    latents: Tensor  # [n, PORTRAITS, C, 16, 16] half
    embeddings: Tensor  # [n, SELFIES, EMBEDDINGS, 512] half
    pixels: Tensor  # [n, SELFIES, 3, 112, 112] uint8
    styles: list[Style]  # n * PORTRAITS
    feminine: list[bool]


def write_cache(shards: Path, folder: Path, cache: Path) -> None:
    """A file for every shard that has none yet."""
    cache.mkdir(parents=True, exist_ok=True)
    vae = channels_last(latent_vae(shards, folder))
    recogniser = channels_last(trained_recogniser(folder))
    for path in shard_paths(shards):
        target = cache / f"{path.stem}.pt"
        if target.exists():
            continue
        shard = read_shard(path)
        with torch.no_grad():
            latents = torch.cat([_latents(vae, x) for x in _portrait_batches(shard)])
            embeddings, pixels = _selfies(shard, recogniser)
        partial = target.with_suffix(".partial")
        state = {
            "latents": latents.reshape(len(shard), PORTRAITS, *latents.shape[1:]),
            "embeddings": embeddings,
            "pixels": pixels,
        }
        torch.save(state, partial)
        partial.replace(target)
        print(f"cached {target.stem}", flush=True)


def read_cache(shards: Path, cache: Path) -> Iterator[Lessons]:
    for path in sorted(cache.glob("*.pt")):
        shard = read_shard(shards / f"{path.stem}.npz")
        state = torch.load(path, weights_only=True)
        yield Lessons(**state, styles=shard.styles, feminine=shard.feminine.tolist())


def tower_pixels(picture: np.ndarray) -> np.ndarray:
    """A square picture as the image tower sees it, before CLIP's mean and spread: [112, 112, 3] uint8."""
    return cv2.resize(picture, (TOWER_SIZE, TOWER_SIZE), interpolation=cv2.INTER_AREA)


def _latents(vae: AutoencoderTiny, pictures: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return encode(vae, halved(pictures)).half()


def _portrait_batches(shard: Shard) -> Iterator[Tensor]:
    for start in range(0, len(shard), BATCH // PORTRAITS):
        people = range(start, min(start + BATCH // PORTRAITS, len(shard)))
        x = to_planes([shard.portrait(p, k) for p in people for k in range(PORTRAITS)]) * 2 - 1
        yield x.contiguous(memory_format=torch.channels_last)


def _selfies(shard: Shard, recogniser: RecogniserNet) -> tuple[Tensor, Tensor]:
    rng, generator = np.random.default_rng(7), torch.Generator().manual_seed(7)
    embeddings, pixels = [], []
    for person in range(len(shard)):
        pictures = [shard.selfie(person, k) for k in range(SELFIES)]
        marks = shard.selfie_landmarks[person]
        crops = [aligned_crop(picture, points, rng) for picture, points in zip(pictures, marks, strict=True)]
        clean = to_planes(crops)
        views = torch.stack([clean, snapshot(clean, generator)], dim=1).flatten(0, 1)  # [SELFIES * 2, 3, 112, 112]
        views = (views * 2 - 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = recogniser(views)
        embeddings.append(found.half().reshape(SELFIES, EMBEDDINGS, -1))
        pixels.append(torch.from_numpy(np.stack([tower_pixels(p) for p in pictures])).permute(0, 3, 1, 2))
    return torch.stack(embeddings), torch.stack(pixels)
