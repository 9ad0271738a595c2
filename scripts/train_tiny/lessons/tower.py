"""PhotoMaker v1's image tower, taught to name people before the generator asks it who is there.

A small vision transformer from scratch learns identity poorly from the generator's loss alone (reference figures: hair
style .45 after 4,000 steps where a CNN has .98). Naming factors teaches it directly, and so does the recogniser, a CNN:
from the whole selfie the tower must say what the recogniser makes of the face in it.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPVisionModel
from transformers.models.clip.modeling_clip import CLIPAttention

from models.adapters.clip_pixels import MEAN, STD
from models.adapters.photomaker.encoder import EncoderShape, PhotoMakerEncoder, VisionShape
from scripts.train_tiny.drawing.person import CATEGORIES, MEASURES
from scripts.train_tiny.drawing.shards import SELFIES
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.cache import TOWER_SIZE, Lessons, read_lessons
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.recogniser import EMBEDDING
from scripts.train_tiny.lessons.text import WIDTHS
from scripts.train_tiny.lessons.trainer import Trainer, averaged_state, seeded

BATCH = 64
SHIFT = 6  # pixels, of augmentation
TOKEN = sum(WIDTHS)


def tower_shape() -> EncoderShape:
    """PhotoMaker v1 in small: one token per selfie, read off the whole picture."""
    return EncoderShape(
        vision=VisionShape(
            hidden_size=96,
            intermediate_size=192,
            num_attention_heads=3,
            num_hidden_layers=4,
            patch_size=14,
            image_size=TOWER_SIZE,
            projection_dim=WIDTHS[0],
        ),
        cross_attention_dim=TOKEN,
    )


@torch.no_grad()
def start_mimetic(vision: CLIPVisionModel, shape: VisionShape) -> None:
    """Begin as trained transformers look: positions as waves, attention to oneself, values that cancel.

    Mimetic initialisation (arXiv 2305.09828), with its published constants; a small transformer on little data gains
    most from it. CLIP's own start has positions 25 times fainter than patches.
    """
    width, heads, side = shape.hidden_size, shape.num_attention_heads, shape.image_size // shape.patch_size
    for name, parameter in vision.named_parameters():
        if name.endswith("position_embedding.weight"):
            parameter.copy_(torch.cat([torch.zeros(1, width), 0.5 * _waves(side, width)]))
    for layer in [m for m in vision.modules() if isinstance(m, CLIPAttention)]:
        queries, keys = _factored(0.7, 0.7, width, heads)
        layer.q_proj.weight.copy_(queries.flatten(0, 1))
        layer.k_proj.weight.copy_(keys.flatten(0, 1))
        (out,), (values,) = _factored(0.4, -0.4, width, 1)
        layer.v_proj.weight.copy_(values)
        layer.out_proj.weight.copy_(out.T)


def _waves(side: int, width: int) -> Tensor:
    """[side * side, width]: sines and cosines of the row and of the column."""
    places = torch.arange(side).float()
    angles = places[:, None] * torch.logspace(0, -1.5, width // 4)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # [side, width / 2]
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def _factored(random: float, identity: float, width: int, heads: int) -> tuple[Tensor, Tensor]:
    """Per head two [width / heads, width] whose product A^T B is near `random` noise plus `identity` times one."""
    inner = width // heads
    pairs = []
    for _ in range(heads):
        product = random * torch.randn(width, width) / width**0.5 + identity * torch.eye(width)
        left, sizes, right = torch.linalg.svd(product)
        roots = sizes[:inner].sqrt()[:, None]
        pairs.append((roots * left.T[:inner], roots * right[:inner]))
    first, second = zip(*pairs, strict=True)
    return torch.stack(first), torch.stack(second)


class TowerLesson(nn.Module):
    """The encoder with heads that name what its token says; the heads are for training only."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = PhotoMakerEncoder(tower_shape())
        start_mimetic(self.encoder.vision_model, tower_shape().vision)
        self.read = nn.Sequential(
            nn.LayerNorm(TOKEN), nn.Linear(TOKEN, 256), nn.ReLU(), nn.Linear(256, sum(self.sizes))
        )

    @property
    def sizes(self) -> list[int]:
        return [*CATEGORIES.values(), len(MEASURES), EMBEDDING]

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """[N, 3, 112, 112] -> logits of CATEGORIES, measures [N, numbers], the recogniser's embedding [N, 512]."""
        token = self.encoder(pixels)[:, 0]
        *logits, measures, embedding = self.read(token).float().split(self.sizes, dim=1)
        return logits, measures, embedding


def clip_normalised(x: Tensor) -> Tensor:
    """[N, 3, S, S] in 0..1 -> CLIP's numbers."""
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def train_tower(shards: Path, cache: Path, folder: Path, budget_seconds: float) -> None:
    rng, generator = seeded(10, folder, "tower", join())
    lessons, lesson = read_lessons(shards, cache), TowerLesson()

    def loss_of(step: int) -> dict[str, Tensor]:
        drawn = [_draw(lessons, rng) for _ in range(BATCH)]
        pixels, meant, classes, numbers = (torch.stack(part) for part in zip(*drawn, strict=True))
        x = clip_normalised(snapshot(pixels.float() / 255, generator, occlude=False))
        with short_numbers(), sdpa_kernel(SDPBackend.MATH):  # fused ones train slowly
            logits, measures, embedding = lesson(x)
        named = [F.cross_entropy(logit, classes[:, i]) for i, logit in enumerate(logits)]
        return {
            "factors": 0.3 * torch.stack(named).sum(),
            "measures": 0.5 * (measures - numbers).square().mean(0).sum(),
            "embedding": 4 * (1 - F.cosine_similarity(embedding, meant.float())).mean(),
        }

    Trainer("tower", lesson, folder, rate=1e-3, decay=0.02, average=0.99).run(loss_of, budget_seconds)


def _draw(lessons: list[Lessons], rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A selfie a few pixels off its place, what the recogniser makes of it, its person's classes and measures."""
    lesson = lessons[rng.integers(len(lessons))]
    selfies, portraits = lesson.selfies, lesson.portraits
    person, k = int(rng.integers(len(selfies.pixels))), int(rng.integers(SELFIES))
    padded = F.pad(selfies.pixels[person, k][None], (SHIFT,) * 4, mode="replicate")[0]
    x, y = (int(n) for n in rng.integers(2 * SHIFT + 1, size=2))
    pixels = padded[:, y : y + TOWER_SIZE, x : x + TOWER_SIZE]
    return pixels, selfies.embeddings[person, k, 0], portraits.categories[person], portraits.measures[person]


def trained_tower(folder: Path) -> PhotoMakerEncoder:
    lesson = TowerLesson()
    lesson.load_state_dict(averaged_state(folder, "tower"))
    return lesson.encoder
