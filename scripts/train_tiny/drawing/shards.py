"""Renders on disk: shards of 200 people, each with two selfies and three portraits, written by one process.

Pictures are JPEGs of high quality in one byte array; they are decoded when a batch is drawn. A shard is complete or
absent: it is written under another name and then renamed.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from scripts.train_tiny.drawing.person import DrawnPerson, categories, draw_identity, measures
from scripts.train_tiny.drawing.pose import portrait_pose, selfie_pose
from scripts.train_tiny.drawing.render import Render, render
from scripts.train_tiny.drawing.style import DrawnStyle, draw_style, plain_style

PEOPLE = 200
SELFIES = 2
PORTRAITS = 3
SELFIE_SIZE = 192
PORTRAIT_SIZE = 256


@dataclass(frozen=True, slots=True)
class Shard:
    """`n` people. Pictures are reached by `selfie(person, k)` and `portrait(person, k)`."""

    selfies: list[bytes]
    portraits: list[bytes]
    selfie_landmarks: np.ndarray  # [n, SELFIES, 5, 2] float32, in selfie pixels
    portrait_landmarks: np.ndarray  # [n, PORTRAITS, 5, 2] float32, in portrait pixels
    categories: np.ndarray  # [n, heads] int64
    measures: np.ndarray  # [n, numbers] float32
    styles: list[DrawnStyle]  # n * PORTRAITS
    feminine: np.ndarray  # [n] bool

    def selfie(self, person: int, k: int) -> np.ndarray:
        """[192, 192, 3] uint8 RGB."""
        return _decode(self.selfies[person * SELFIES + k])

    def portrait(self, person: int, k: int) -> np.ndarray:
        """[256, 256, 3] uint8 RGB."""
        return _decode(self.portraits[person * PORTRAITS + k])

    def style(self, person: int, k: int) -> DrawnStyle:
        return self.styles[person * PORTRAITS + k]

    def __len__(self) -> int:
        return len(self.feminine)


def write_shards(folder: Path, numbers: Iterable[int], seed: int) -> None:
    """The shards of these numbers, skipping those that exist. Every shard has people of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    for number in numbers:
        path = folder / f"{number:05d}.npz"
        if not path.exists():
            _write_shard(path, np.random.default_rng([seed, number]))
            print(f"rendered shard {number}", flush=True)


def read_shard(path: Path) -> Shard:
    with np.load(path) as data:
        return Shard(
            selfies=_split(data["selfies"], data["selfie_sizes"]),
            portraits=_split(data["portraits"], data["portrait_sizes"]),
            selfie_landmarks=data["selfie_landmarks"],
            portrait_landmarks=data["portrait_landmarks"],
            categories=data["categories"],
            measures=data["measures"],
            styles=[DrawnStyle(**fields) for fields in json.loads(str(data["styles"]))],
            feminine=data["feminine"],
        )


def shard_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.npz"))


def people_of(number: int, seed: int) -> list[DrawnPerson]:
    """Who is in a shard, as they were drawn."""
    return _draw_people(np.random.default_rng([seed, number]))


def _draw_people(rng: np.random.Generator) -> list[DrawnPerson]:
    return [draw_identity(rng, index) for index in range(PEOPLE)]


def _write_shard(path: Path, rng: np.random.Generator) -> None:
    people = _draw_people(rng)
    selfies: list[Render] = []
    portraits: list[Render] = []
    styles: list[DrawnStyle] = []
    for person in people:
        selfies += [render(person, plain_style(rng), selfie_pose(rng)) for _ in range(SELFIES)]
        chosen = [draw_style(rng) for _ in range(PORTRAITS)]
        portraits += [render(person, style, portrait_pose(rng)) for style in chosen]
        styles += chosen
    small = [cv2.resize(r.pixels, (SELFIE_SIZE, SELFIE_SIZE), interpolation=cv2.INTER_AREA) for r in selfies]
    selfie_bytes, portrait_bytes = [_encode(p, 95) for p in small], [_encode(r.pixels, 97) for r in portraits]
    selfie_points = np.stack([r.landmarks for r in selfies]) * (SELFIE_SIZE / PORTRAIT_SIZE)
    portrait_points = np.stack([r.landmarks for r in portraits])
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            selfies=np.frombuffer(b"".join(selfie_bytes), np.uint8),
            selfie_sizes=[len(b) for b in selfie_bytes],
            portraits=np.frombuffer(b"".join(portrait_bytes), np.uint8),
            portrait_sizes=[len(b) for b in portrait_bytes],
            selfie_landmarks=selfie_points.reshape(PEOPLE, SELFIES, 5, 2).astype(np.float32),
            portrait_landmarks=portrait_points.reshape(PEOPLE, PORTRAITS, 5, 2),
            categories=np.stack([categories(p) for p in people]),
            measures=np.stack([measures(p) for p in people]),
            styles=np.array(json.dumps([asdict(s) for s in styles])),
            feminine=np.array([p.feminine for p in people]),
        )
    partial.replace(path)


def _encode(picture: np.ndarray, quality: int) -> bytes:
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return cv2.imencode(".jpg", picture[:, :, ::-1], options)[1].tobytes()


def _decode(data: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "a shard holds only pictures that were encoded by _encode"
    return picture[:, :, ::-1]


def _split(joined: np.ndarray, sizes: np.ndarray) -> list[bytes]:
    whole, ends = joined.tobytes(), np.cumsum(sizes)
    return [whole[end - size : end] for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)]
