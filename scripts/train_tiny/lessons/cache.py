"""What the generator learns from, computed once per shard: latents of portraits, embeddings and pixels of selfies."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor

from scripts.train_tiny.drawing.pose import posed_pose
from scripts.train_tiny.drawing.render import render
from scripts.train_tiny.drawing.shards import PORTRAITS, SELFIES, Shard, people_of, read_shard, shard_paths
from scripts.train_tiny.drawing.style import DrawnStyle, draw_style
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.onnx_export import trained_recogniser
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.recogniser import RecogniserNet, aligned_crop, to_planes
from scripts.train_tiny.lessons.trainer import channels_last
from scripts.train_tiny.lessons.vae import encode, trained_vae

TOWER_SIZE = 112  # of the CLIP image tower's input
EMBEDDINGS = 2  # per selfie: as it is, and as a worse photo of the same scene
BATCH = 24


@dataclass(frozen=True, slots=True)
class Portraits:
    """What one shard's people look like in portraits, and what was drawn."""

    latents: Tensor  # [n, PORTRAITS, C, 16, 16] half
    landmarks: Tensor  # [n, PORTRAITS, 5, 2], in pixels of 256
    styles: list[DrawnStyle]  # n * PORTRAITS
    categories: Tensor  # [n, heads]
    measures: Tensor  # [n, numbers]
    feminine: list[bool]


@dataclass(frozen=True, slots=True)
class Posed:
    """The same people once more, each in one portrait somewhere on the canvas: what keypoints are learnt from."""

    latents: Tensor  # [n, C, 16, 16] half
    landmarks: Tensor  # [n, 5, 2], in pixels of 256
    styles: list[DrawnStyle]  # n


@dataclass(frozen=True, slots=True)
class Selfies:
    """The same people as the adapters see them."""

    embeddings: Tensor  # [n, SELFIES, EMBEDDINGS, 512] half
    pixels: Tensor  # [n, SELFIES, 3, 112, 112] uint8


@dataclass(frozen=True, slots=True)
class Lessons:
    """One shard's people, seen in every way."""

    portraits: Portraits
    posed: Posed
    selfies: Selfies


def write_latents(shards: Path, folder: Path, cache: Path) -> None:
    """A file for every shard that has none yet."""
    vae = channels_last(trained_vae(folder))

    def latents(shard: Shard) -> dict[str, Tensor]:
        flat = torch.cat([_latents(vae, x) for x in _portrait_batches(shard)])
        return {"latents": flat.reshape(len(shard), PORTRAITS, *flat.shape[1:])}

    _write(shards, cache / "latents", lambda number, shard: latents(shard))


def write_posed(shards: Path, folder: Path, cache: Path, seed: int) -> None:
    """A file for every shard that has none yet. `seed` is the one that the shards were drawn with."""
    vae = channels_last(trained_vae(folder))

    def posed(number: int, shard: Shard) -> dict[str, Any]:
        rng = np.random.default_rng([seed, number, 1])
        styles = [draw_style(rng) for _ in range(len(shard))]
        people = zip(people_of(number, seed), styles, strict=True)
        renders = [render(person, style, posed_pose(rng)) for person, style in people]
        batches = [to_planes([r.pixels for r in renders[i : i + BATCH]]) * 2 - 1 for i in range(0, len(shard), BATCH)]
        return {
            "latents": torch.cat([_latents(vae, x.contiguous(memory_format=torch.channels_last)) for x in batches]),
            "landmarks": torch.from_numpy(np.stack([r.landmarks for r in renders])),
            "styles": [asdict(style) for style in styles],
        }

    _write(shards, cache / "posed", posed)


def write_faces(shards: Path, folder: Path, cache: Path) -> None:
    """A file for every shard that has none yet."""
    recogniser = channels_last(trained_recogniser(folder))
    _write(shards, cache / "faces", lambda number, shard: _selfies(shard, recogniser))


def read_portraits(shards: Path, cache: Path) -> list[Portraits]:
    return [_portraits(shards, path) for path in sorted((cache / "latents").glob("*.pt"))]


def lesson_names(cache: Path) -> list[str]:
    """The shards of which all files are there."""
    return [path.stem for path in sorted((cache / "posed").glob("*.pt")) if (cache / "faces" / path.name).exists()]


def read_lesson(shards: Path, cache: Path, name: str) -> Lessons:
    file = f"{name}.pt"
    return Lessons(
        _portraits(shards, cache / "latents" / file),
        _posed(cache / "posed" / file),
        Selfies(**torch.load(cache / "faces" / file, weights_only=True)),
    )


def read_lessons(shards: Path, cache: Path) -> list[Lessons]:
    return [read_lesson(shards, cache, name) for name in lesson_names(cache)]


def tower_pixels(picture: np.ndarray) -> np.ndarray:
    """A square picture as the image tower sees it, before CLIP's mean and spread: [112, 112, 3] uint8."""
    return cv2.resize(picture, (TOWER_SIZE, TOWER_SIZE), interpolation=cv2.INTER_AREA)


def _portraits(shards: Path, path: Path) -> Portraits:
    shard = read_shard(shards / f"{path.stem}.npz")
    return Portraits(
        **torch.load(path, weights_only=True),
        landmarks=torch.from_numpy(shard.portrait_landmarks),
        styles=shard.styles,
        categories=torch.from_numpy(shard.categories),
        measures=torch.from_numpy(shard.measures),
        feminine=shard.feminine.tolist(),
    )


def _posed(path: Path) -> Posed:
    state = torch.load(path, weights_only=True)
    return Posed(**state | {"styles": [DrawnStyle(**fields) for fields in state["styles"]]})


@torch.no_grad()
def _write(shards: Path, target: Path, computed: Callable[[int, Shard], dict[str, Any]]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in shard_paths(shards):
        complete = target / f"{path.stem}.pt"
        if complete.exists():
            continue
        partial = complete.with_suffix(".partial")
        torch.save(computed(int(path.stem), read_shard(path)), partial)
        partial.replace(complete)
        print(f"cached {target.name} {path.stem}", flush=True)


def _latents(vae: AutoencoderTiny, pictures: Tensor) -> Tensor:
    with short_numbers():
        return encode(vae, pictures).half()


def _portrait_batches(shard: Shard) -> Iterator[Tensor]:
    for start in range(0, len(shard), BATCH // PORTRAITS):
        people = range(start, min(start + BATCH // PORTRAITS, len(shard)))
        x = to_planes([shard.portrait(p, k) for p in people for k in range(PORTRAITS)]) * 2 - 1
        yield x.contiguous(memory_format=torch.channels_last)


def _selfies(shard: Shard, recogniser: RecogniserNet) -> dict[str, Tensor]:
    rng, generator = np.random.default_rng(7), torch.Generator().manual_seed(7)
    embeddings, pixels = [], []
    for person in range(len(shard)):
        pictures = [shard.selfie(person, k) for k in range(SELFIES)]
        marks = shard.selfie_landmarks[person]
        crops = [aligned_crop(picture, points, rng) for picture, points in zip(pictures, marks, strict=True)]
        clean = to_planes(crops)
        views = torch.stack([clean, snapshot(clean, generator)], dim=1).flatten(0, 1)  # [SELFIES * 2, 3, 112, 112]
        views = (views * 2 - 1).contiguous(memory_format=torch.channels_last)
        with short_numbers():
            found = recogniser(views)
        embeddings.append(found.half().reshape(SELFIES, EMBEDDINGS, -1))
        pixels.append(torch.from_numpy(np.stack([tower_pixels(p) for p in pictures])).permute(0, 3, 1, 2))
    return {"embeddings": torch.stack(embeddings), "pixels": torch.stack(pixels)}
