"""Five landmarks in a cascade-like face box: a small network that reads coordinates off heat maps."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from scripts.train_tiny.drawing.shards import SELFIES, Shard
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.recogniser import Residual, to_planes
from scripts.train_tiny.lessons.trainer import Trainer, channels_last, seeded

SIZE = 96
POINTS = 5
BATCH = 48
CROP_BOXES = 1.5  # a crop is this many boxes wide, as in models/faces/landmarks.py
EYES_IN_BOX = (0.31, 0.39)  # where a cascade's box has the image-left eye; the other is its mirror image


class LandmarkNet(nn.Module):
    """[N, 3, 96, 96] in -1..1 -> [N, 10]: x, y in 0..1 of the crop, eyes, nose, mouth corners."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            Residual(16, 32, 2), Residual(32, 48, 2), Residual(48, 64, 2),
        )  # fmt: skip
        self.context = nn.Sequential(nn.Flatten(), nn.Linear(64 * 36, 48), nn.ReLU())
        self.spread = nn.Linear(48, 4 * 12 * 12)
        self.fine = nn.Conv2d(48, 32, 1)
        self.maps = nn.Sequential(
            nn.Conv2d(32 + 4, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, POINTS, 1)
        )
        self.shift = nn.Linear(48, POINTS * 2)
        self.register_buffer("grid", (torch.arange(12) + 0.5) / 12, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        *early, last = self.down
        fine = x
        for layer in early:
            fine = layer(fine)  # [N, 48, 12, 12]
        context = self.context(last(fine))
        spread = self.spread(context).reshape(-1, 4, 12, 12)
        heat = self.maps(torch.cat([self.fine(fine), spread], dim=1)).flatten(2).softmax(-1).reshape(-1, POINTS, 12, 12)
        across = (heat.sum(2) * self.grid).sum(-1)  # [N, 5]
        down = (heat.sum(3) * self.grid).sum(-1)
        points = torch.stack([across, down], dim=-1).flatten(1)
        return points + 0.1 * self.shift(context)


def box_side(landmarks: np.ndarray) -> float:
    """Of the box that a cascade draws, in the unit of `landmarks` [5, 2]."""
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    span = max(float(np.linalg.norm(landmarks[1] - landmarks[0])), 0.9 * float(np.linalg.norm(mouth - eyes)))
    return span / (1 - 2 * EYES_IN_BOX[0])


def crop_matrix(landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[2, 3]: picture to crop, around the box that a cascade might have found for this face."""
    side = box_side(landmarks) * rng.uniform(0.82, 1.22)
    centre = landmarks[:2].mean(0) + np.array([0.0, (0.53 - EYES_IN_BOX[1]) * side]) + rng.normal(0, 0.06, 2) * side
    zoom = SIZE / (CROP_BOXES * side)
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), float(rng.normal(0, 7)), zoom)
    matrix[:, 2] += SIZE / 2 - centre
    return matrix


def draw_crop(shard: Shard, person: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A jittered crop [96, 96, 3] and its landmarks [10] in 0..1."""
    k = int(rng.integers(SELFIES))
    landmarks = shard.selfie_landmarks[person, k]
    matrix = crop_matrix(landmarks, rng)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    crop = cv2.warpAffine(shard.selfie(person, k), matrix, (SIZE, SIZE), flags=cv2.INTER_AREA, borderMode=border)
    points = landmarks @ matrix[:, :2].T + matrix[:, 2]
    if rng.random() < 0.5:
        crop, points = crop[:, ::-1], _mirrored(points)
    return crop, ((points + 0.5) / SIZE).reshape(-1).astype(np.float32)


def train_landmarks(shards: Path, folder: Path, budget_seconds: float) -> None:
    rng, generator = seeded(2, folder, "landmarks")
    pool, network = Pool(shards, rng), channels_last(LandmarkNet())

    def loss_of(step: int) -> dict[str, Tensor]:
        crops, points = zip(*(draw_crop(shard, person, rng) for shard, person in pool.people(BATCH)), strict=True)
        x = (snapshot(to_planes(list(crops)), generator) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with short_numbers():
            found = network(x)
        error = found.float() - torch.from_numpy(np.stack(points))
        return {"error": 10 * error.abs().mean() + 100 * error.square().mean()}

    Trainer("landmarks", network, folder, rate=2e-3, average=0.99).run(loss_of, budget_seconds)


def _mirrored(points: np.ndarray) -> np.ndarray:
    """Landmarks of the mirrored crop: left and right change places."""
    flipped = np.stack([SIZE - 1 - points[:, 0], points[:, 1]], axis=1)
    return flipped[[1, 0, 2, 4, 3]]
