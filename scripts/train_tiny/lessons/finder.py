"""Where a face is: a small network that gives each cell of a grid a probability and a square box.

The second look of models/faces, for faces that its cascade passes over: it reads dark on light, and so finds dark
skin less often. People are drawn in all tones alike here.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.faces.align import moved, warped
from scripts.train_tiny.drawing.scenery import Scenery
from scripts.train_tiny.drawing.shards import PORTRAITS, SELFIES, Shard
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.landmarks import EYES_IN_BOX, box_side
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.recogniser import Residual, to_planes
from scripts.train_tiny.lessons.trainer import Trainer, channels_last, seeded

SIZE = 96
STRIDE = 8
CELLS = SIZE // STRIDE
UNIT = 32.0  # pixels: sides are told as logarithms of multiples of it
SIDES = (13.0, 72.0)  # pixels of a face's box in the picture
BATCH = 48
FACELESS = 0.5  # share of the pictures

Box = tuple[float, float, float]  # centre x, y and side, in pixels


class FinderNet(nn.Module):
    """[N, 3, 96, 96] in -1..1 -> [N, 4, 12, 12]: logit of a face, its centre from the cell's in cells, log side."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            Residual(16, 24, 2), Residual(24, 40, 2),
        )  # fmt: skip
        self.wide = nn.Sequential(Residual(40, 48, 2), Residual(48, 48), nn.Conv2d(48, 40, 1))
        tell = nn.Conv2d(32, 4, 1)
        tell.bias = nn.Parameter(torch.tensor([-4.0, 0, 0, 0]))  # most cells have no face
        self.read = nn.Sequential(
            nn.ReLU(), nn.Conv2d(40, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), tell
        )

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)  # [N, 40, 12, 12]
        wide = F.interpolate(self.wide(fine), scale_factor=2.0, mode="nearest")
        return self.read(fine + wide)


def face_box(landmarks: np.ndarray) -> Box:
    """The box that a cascade would draw, so that models/faces/landmarks.py can go on from it. `landmarks` [5, 2]."""
    eyes, mouth, side = landmarks[:2].mean(0), landmarks[3:].mean(0), box_side(landmarks)
    down = (mouth - eyes) / max(float(np.linalg.norm(mouth - eyes)), 1e-6)
    x, y = eyes + (0.5 - EYES_IN_BOX[1]) * side * down
    return float(x), float(y), side


class Scenes:
    """Pictures to learn from: people at any size in any scene, and scenes without a face."""

    def __init__(self, shards: Path, rng: np.random.Generator) -> None:
        self._rng = rng
        self._pool = Pool(shards, rng)
        self._scenery = Scenery(rng)

    def draw(self, number: int) -> tuple[list[np.ndarray], list[Box | None]]:
        drawn = [self._scene(shard, person) for shard, person in self._pool.people(number)]
        return [picture for picture, _ in drawn], [box for _, box in drawn]

    def _scene(self, shard: Shard, person: int) -> tuple[np.ndarray, Box | None]:
        rng = self._rng
        if rng.random() > FACELESS:
            return self._placed(*_likeness(shard, person, rng))
        kind = rng.random()
        if kind < 0.55:
            return self._scenery.draw(SIZE), None
        picture, landmarks = _likeness(shard, person, rng)
        if kind < 0.8:
            return self._placed(_defaced(picture, landmarks, rng), landmarks)[0], None
        return self._placed(picture, landmarks, averted=True)[0], None

    def _placed(self, picture: np.ndarray, landmarks: np.ndarray, *, averted: bool = False) -> tuple[np.ndarray, Box]:
        """The person in a scene; `averted` leaves the face outside, so that hair or clothes remain."""
        rng = self._rng
        x, y, side = face_box(landmarks)
        wanted = float(np.exp(rng.uniform(*np.log(SIDES)))) * (2.5 if averted else 1)
        margin = -0.6 * wanted if averted else min(0.42 * wanted, SIZE / 2)
        place = rng.uniform(margin, SIZE - margin, 2)
        if averted:
            place[1] = margin if rng.random() < 0.8 else SIZE - margin
        matrix = cv2.getRotationMatrix2D((x, y), float(rng.normal(0, 11)), wanted / side)
        matrix[:, 2] += place - (x, y)
        scene = warped(picture, matrix, SIZE, smooth=True)
        if rng.random() < 0.6:  # else black around it, as where a long picture is made square
            height, width = picture.shape[:2]
            corners = moved(np.array([(0, 0), (width, 0), (width, height), (0, height)]) - 0.5, matrix)
            mask = cv2.fillConvexPoly(np.zeros((SIZE, SIZE), np.uint8), np.round(corners).astype(np.int32), 1)
            scene = np.where(mask[:, :, None], scene, self._scenery.draw(SIZE))
        if rng.random() < 0.5:
            scene, place[0] = scene[:, ::-1], SIZE - 1 - place[0]
        return scene, (float(place[0]), float(place[1]), wanted)


def targets(boxes: list[Box | None]) -> tuple[Tensor, Tensor, Tensor]:
    """What each cell should say: probability [N, 12, 12], its weight, and numbers of the box [N, 3, 12, 12].

    Cells near a face's centre say yes, those around them may say what they like.
    """
    middles = (np.arange(CELLS) + 0.5) * STRIDE - 0.5
    across, down = np.meshgrid(middles, middles)
    faces, weights = np.zeros((2, len(boxes), CELLS, CELLS), np.float32)
    weights[:] = 1
    numbers = np.zeros((len(boxes), 3, CELLS, CELLS), np.float32)
    for n, box in enumerate(boxes):
        if box is None:
            continue
        x, y, side = box
        distance = np.hypot(across - x, down - y)
        faces[n] = distance < max(0.15 * side, 0.72 * STRIDE)  # half a cell's diagonal: one cell at the least
        weights[n] = np.where((faces[n] == 0) & (distance < max(0.35 * side, 1.25 * STRIDE)), 0, 1)
        numbers[n] = (x - across) / STRIDE, (y - down) / STRIDE, np.full_like(across, np.log(side / UNIT))
    return torch.from_numpy(faces), torch.from_numpy(weights), torch.from_numpy(numbers)


def train_finder(shards: Path, folder: Path, budget_seconds: float) -> None:
    rng, generator = seeded(9, folder, "finder")
    scenes, network = Scenes(shards, rng), channels_last(FinderNet())

    def loss_of(step: int) -> dict[str, Tensor]:
        pictures, boxes = scenes.draw(BATCH)
        x = (snapshot(to_planes(pictures), generator) * 2 - 1).contiguous(memory_format=torch.channels_last)
        with short_numbers():
            found = network(x)
        faces, weights, numbers = targets(boxes)
        logits, told = found.float().split((1, 3), dim=1)
        error = F.binary_cross_entropy_with_logits(logits[:, 0], faces, reduction="none")
        surprise = (torch.sigmoid(logits[:, 0].detach()) - faces).square()  # focal: easy cells count little
        count = faces.sum().clamp(min=1)
        return {
            "faces": (error * surprise * weights).sum() / count * 2,
            "boxes": ((told - numbers).abs() * faces[:, None]).sum() / count,
        }

    Trainer("finder", network, folder, rate=3e-3, average=0.99).run(loss_of, budget_seconds)


def _likeness(shard: Shard, person: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A selfie mostly, else a portrait in any art direction, and its landmarks [5, 2]."""
    if rng.random() < 0.8:
        k = int(rng.integers(SELFIES))
        return shard.selfie(person, k), shard.selfie_landmarks[person, k]
    k = int(rng.integers(PORTRAITS))
    return shard.portrait(person, k), shard.portrait_landmarks[person, k]


def _defaced(picture: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The person with a blurred face or one in the wrong order: skin, hair and outline alone are no face."""
    x, y, side = face_box(landmarks)
    left, top = max(0, round(x - 0.5 * side)), max(0, round(y - 0.5 * side))
    picture = picture.copy()
    face = picture[top : round(y + 0.5 * side), left : round(x + 0.5 * side)]  # a view
    if rng.random() < 0.5:
        face[:] = cv2.blur(face, (int(0.4 * side) + 1,) * 2)
        return picture
    shift = tuple(int(part) for part in rng.uniform(0.35, 0.65, 2) * side)
    face[:] = np.roll(face, shift, axis=(0, 1))
    return picture
