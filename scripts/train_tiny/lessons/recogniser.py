"""The face recogniser: an aligned 112x112 crop to 512 numbers that stay the same for one person.

It learns two things at once: to name every factor of the drawn person, and to put two pictures of one person closer
together than to anybody else in the batch (supervised contrast, arXiv 2004.11362). The embedding has a fixed length of
sqrt(512), like ArcFace's raw outputs in size, so PhotoMaker's token projection gets numbers of order one.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.faces.align import similarity
from scripts.train_tiny.drawing.person import CATEGORIES, MEASURES
from scripts.train_tiny.drawing.shards import SELFIES, Shard
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, channels_last, seeded

SIZE = 112
EMBEDDING = 512
BATCH_PEOPLE = 24
WIDTHS = (24, 48, 96, 160)
TEMPERATURE = 1 / 16
SKIN = ("tone", "skin_r", "skin_g", "skin_b")
SKIN_WEIGHT = 8.0  # of each of these among the measures: a face of another colour is another person


class Residual(nn.Module):
    def __init__(self, inner: int, outer: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer))
        same = inner == outer and stride == 1
        self.skip = nn.Identity() if same else nn.Conv2d(inner, outer, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.second(self.first(x)))


class RecogniserNet(nn.Module):
    """[N, 3, 112, 112] in -1..1 -> [N, 512]."""

    def __init__(self) -> None:
        super().__init__()
        stem, *rest = WIDTHS
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 5, 2, 2, bias=False), nn.BatchNorm2d(stem), nn.ReLU())
        blocks: list[nn.Module] = []
        for inner, outer in zip(WIDTHS, rest, strict=False):
            blocks += [Residual(inner, outer, 2), Residual(outer, outer)]
        self.blocks = nn.Sequential(*blocks)
        self.squeeze = nn.Sequential(nn.Conv2d(WIDTHS[-1], 32, 1), nn.ReLU())
        self.embed = nn.Sequential(
            nn.Linear(32 * 7 * 7 + WIDTHS[-1], EMBEDDING), nn.LayerNorm(EMBEDDING, elementwise_affine=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(self.stem(x))  # [N, 160, 7, 7]
        return self.embed(torch.cat([self.squeeze(features).flatten(1), features.mean((2, 3))], dim=1))


class FactorHeads(nn.Module):
    """Reads the drawn factors off an embedding; training only."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(EMBEDDING, sum(CATEGORIES.values()) + len(MEASURES))

    def forward(self, embedding: Tensor) -> tuple[list[Tensor], Tensor]:
        """Logits per category, and the measures [N, numbers]."""
        *logits, numbers = self.read(embedding).split([*CATEGORIES.values(), len(MEASURES)], dim=1)
        return logits, numbers


def aligned_crop(picture: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """The ArcFace crop [112, 112, 3]; with `rng`, by landmarks that are a little wrong, as measured ones are."""
    if rng is not None:
        span = float(np.linalg.norm(landmarks[1] - landmarks[0]))
        landmarks = landmarks + rng.normal(0, 0.04 * span, landmarks.shape)
    matrix = similarity(landmarks, SIZE)
    return cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=(0, 0, 0))


def draw_view(shard: Shard, person: int, rng: np.random.Generator) -> np.ndarray:
    """One aligned crop of a person: of a selfie mostly, else of a portrait in any art direction."""
    if rng.random() < 0.7:
        k = int(rng.integers(SELFIES))
        picture, landmarks = shard.selfie(person, k), shard.selfie_landmarks[person, k]
    else:
        k = int(rng.integers(shard.portrait_landmarks.shape[1]))
        picture, landmarks = shard.portrait(person, k), shard.portrait_landmarks[person, k]
        picture, landmarks = cv2.resize(picture, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), landmarks * 0.7
    return aligned_crop(picture, landmarks, rng)


def to_planes(crops: list[np.ndarray]) -> Tensor:
    """[N, 3, S, S] float32 in 0..1."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


class RecogniserLesson(nn.Module):
    """Network and heads together, so that one optimizer and one checkpoint hold both."""

    def __init__(self) -> None:
        super().__init__()
        self.network = RecogniserNet()
        self.heads = FactorHeads()


def contrast(embeddings: Tensor) -> Tensor:
    """Rows 2i and 2i + 1 show one person: each must find the other among all rows."""
    unit = F.normalize(embeddings, dim=1)
    scores = unit @ unit.T / TEMPERATURE
    scores.fill_diagonal_(float("-inf"))
    return F.cross_entropy(scores, torch.arange(len(unit)) ^ 1)


def train_recogniser(shards: Path, folder: Path, budget_seconds: float) -> None:
    rng, generator = seeded(1, folder, "recogniser")
    pool, lesson = Pool(shards, rng), channels_last(RecogniserLesson())
    weights = torch.tensor([SKIN_WEIGHT if name in SKIN else 1.0 for name in MEASURES])

    def loss_of(step: int) -> dict[str, Tensor]:
        people = pool.people(BATCH_PEOPLE)
        x = to_planes([draw_view(shard, person, rng) for shard, person in people for _ in range(2)])
        x = (snapshot(x, generator) * 2 - 1).contiguous(memory_format=torch.channels_last)
        classes = np.stack([shard.categories[person] for shard, person in people for _ in range(2)])
        numbers = np.stack([shard.measures[person] for shard, person in people for _ in range(2)])
        with short_numbers():
            embedding = lesson.network(x)
        embedding = embedding.float()
        logits, measured = lesson.heads(embedding)
        named = [F.cross_entropy(logit, torch.from_numpy(classes[:, i])) for i, logit in enumerate(logits)]
        return {
            "factors": 0.3 * torch.stack(named).sum(),
            "measures": 0.5 * ((measured - torch.from_numpy(numbers)).square().mean(0) * weights).sum(),
            "contrast": contrast(embedding),
        }

    Trainer("recogniser", lesson, folder, rate=2e-3, decay=0.02, average=0.99).run(loss_of, budget_seconds)


def trained_lesson(folder: Path) -> RecogniserLesson:
    """Network and heads, to teach others with."""
    lesson = RecogniserLesson()
    lesson.load_state_dict(averaged_state(folder, "recogniser"))
    return channels_last(lesson).eval().requires_grad_(False)
