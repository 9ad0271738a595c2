"""What a training step shows: people drawn from cached lessons, each with a prompt and the portrait meant by it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from models.adapters.photomaker.trigger import expand, with_trigger
from scripts.train_tiny.drawing.person import care_for
from scripts.train_tiny.drawing.prompts import draw_prompt
from scripts.train_tiny.drawing.shards import PORTRAITS, SELFIES
from scripts.train_tiny.drawing.style import DrawnStyle, style_classes
from scripts.train_tiny.lessons.cache import EMBEDDINGS, Lessons
from scripts.train_tiny.lessons.instant import PlacedItems
from scripts.train_tiny.lessons.text import END, general_words
from scripts.train_tiny.lessons.vae import LATENT_SIZE, WHOLE

ITEMS = 16  # people and prompts per step, each at two timesteps that share one text and identity encoding
TEXT_ONLY = 0.1  # share of items without a person, so that strength 0 works
SEVERAL = 0.2  # share with two selfies
LONE = 0.25  # share of PhotoMaker's items that get but the first token of each selfie: v1 has no second one
ADAPTERS = ("photomaker", "instantid")  # by which a person comes
INSTANTID = 0.25  # share of those who come by the second
POSED = 0.6  # share of InstantID's items whose face is somewhere else than in the middle


@dataclass(slots=True)
class People:
    """The selfies that the ID encoder sees; their tokens are written at (`rows`, `columns`) of the prompts."""

    rows: list[int] = field(default_factory=list)  # M
    columns: list[int] = field(default_factory=list)  # M
    tokens: list[int] = field(default_factory=list)  # M: which of the N * 2 tokens is written there
    pixels: list[Tensor] = field(default_factory=list)  # N of [3, 112, 112]
    embeddings: list[Tensor] = field(default_factory=list)  # N of [512]


@dataclass(frozen=True, slots=True)
class LessonBatch:
    """ITEMS items."""

    latents: Tensor  # [B, C, 16, 16]
    ids: Tensor  # [B, 77]
    second_ids: Tensor  # [B, 77]
    people: People
    placed: PlacedItems
    classes: Tensor  # [B, heads]: what the reader should read
    measures: Tensor  # [B, numbers]
    weight: Tensor  # [B, 1, 16, 16]
    landmarks: Tensor  # [B, 5, 2], in pixels of 256
    sources: list[tuple[int, int, int]]  # B: lesson, person, portrait; what is shown there unless a face is elsewhere
    readable: Tensor  # [B] bool: False where nobody in particular is shown, or not where the reader expects it


@dataclass(frozen=True, slots=True)
class Item:
    latents: Tensor  # [C, 16, 16]
    ids: Sequence[int]
    classes: Tensor  # [heads]
    measures: Tensor  # [numbers]
    landmarks: Tensor  # [5, 2]
    source: tuple[int, int, int]
    readable: bool


class Classroom:
    """Draws batches from cached lessons. Belongs to one training loop."""

    def __init__(
        self,
        lessons: list[Lessons],
        tokenizer: CLIPTokenizer,
        rng: np.random.Generator,
        *,
        tokens: int,
        instantid: float = INSTANTID,
    ) -> None:
        """`tokens` are PhotoMaker's for each selfie, `instantid` the share of people who come by that adapter.

        `tokenizer` is taught the trigger here; the second encoder's ids differ from it in padding only.
        """
        self._lessons = lessons
        self._tokens = tokens
        self._adapter_odds = (1 - instantid, instantid)
        self._tokenizer = tokenizer
        self._rng = rng
        self._words = general_words()
        with_trigger(tokenizer)

    def draw(self) -> LessonBatch:
        people, placed = People(), PlacedItems()
        items = [self._item(row, people, placed) for row in range(ITEMS)]
        ids = torch.tensor([item.ids for item in items])
        return LessonBatch(
            latents=as_images(torch.stack([item.latents for item in items]).float()),
            ids=ids,
            second_ids=other_padding(ids, self._tokenizer),
            people=people,
            placed=placed,
            classes=torch.stack([item.classes for item in items]),
            measures=torch.stack([item.measures for item in items]),
            weight=torch.stack([face_weight(item.landmarks, care_for(item.measures.numpy())) for item in items]),
            landmarks=torch.stack([item.landmarks for item in items]),
            sources=[item.source for item in items],
            readable=torch.tensor([item.readable for item in items]),
        )

    def _item(self, row: int, people: People, placed: PlacedItems) -> Item:
        """One picture to draw; its person is added to `people` or `placed`."""
        number = int(self._rng.integers(len(self._lessons)))
        lesson = self._lessons[number]
        portraits, selfies, posed = lesson.portraits, lesson.selfies, lesson.posed
        person, k = int(self._rng.integers(len(portraits.latents))), int(self._rng.integers(PORTRAITS))
        several = self._rng.random() < SEVERAL
        chosen = [*range(SELFIES)] if several else [int(self._rng.integers(SELFIES))]
        embeddings = [selfies.embeddings[person, i, self._rng.integers(EMBEDDINGS)] for i in chosen]
        adapter = str(self._rng.choice(ADAPTERS, p=self._adapter_odds)) if self._rng.random() > TEXT_ONLY else None
        elsewhere = adapter == "instantid" and self._rng.random() < POSED
        style = posed.styles[person] if elsewhere else portraits.styles[person * PORTRAITS + k]
        latents = posed.latents[person] if elsewhere else portraits.latents[person, k]
        landmarks = posed.landmarks[person] if elsewhere else portraits.landmarks[person, k]
        prompt = self._prompt(style, portraits.feminine[person])
        each = self._tokens
        kept = 1 if self._rng.random() < LONE else each
        expanded = expand(self._tokenizer, prompt, kept * len(chosen))
        if adapter == "instantid":
            placed.rows.append(row)
            placed.embeddings.append(torch.stack(embeddings).float().mean(0))
            placed.landmarks.append(landmarks)
        elif adapter is not None:
            people.rows += [row] * len(expanded.positions)
            people.columns += expanded.positions
            first = len(people.pixels)
            people.tokens += [each * i + k for i in range(first, first + len(chosen)) for k in range(kept)]
            people.pixels += [selfies.pixels[person, i] for i in chosen]
            people.embeddings += embeddings
        return Item(
            latents=latents,
            ids=expanded.ids if adapter == "photomaker" else expanded.plain_ids,
            classes=torch.cat([portraits.categories[person], torch.tensor(style_classes(style))]),
            measures=portraits.measures[person],
            landmarks=landmarks,
            source=(number, person, k),
            readable=adapter is not None and not elsewhere,
        )

    def _prompt(self, style: DrawnStyle, feminine: bool) -> str:
        """One in six has a few words that mean nothing here: they must not disturb."""
        prompt = draw_prompt(self._rng, style, feminine)
        if self._rng.random() > 1 / 6:
            return prompt
        extra = " ".join(self._rng.choice(self._words, size=int(self._rng.integers(1, 4))))
        return f"{prompt}, {extra}"


def other_padding(ids: Tensor, tokenizer: CLIPTokenizer) -> Tensor:
    """[B, 77] padded with end-of-text -> the second tokenizer's, padded with token 0 behind the first end-of-text."""
    ended = ids.eq(tokenizer.get_vocab()[END]).cumsum(dim=1) > 1
    return ids.masked_fill(ended, 0)


def face_weight(landmarks: Tensor, care: float = 1.0) -> Tensor:
    """[5, 2] in pixels -> [1, 16, 16]: the face counts up to three times as much as the rest, eyes seven.

    The mean is 1 where `care` is; it multiplies what the face counts more.
    """
    right, left = landmarks[0], landmarks[1]
    span = (left - right).norm()
    nose = (right + left) / 2 + span * torch.tensor([0.0, 0.4])
    grid = (torch.arange(LATENT_SIZE) + 0.5) * (WHOLE / LATENT_SIZE)
    face = torch.zeros(LATENT_SIZE, LATENT_SIZE)
    for (x, y), spread, height in ((nose, span, 2.0), (right, 12.0, 4.0), (left, 12.0, 4.0)):
        face += height * torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * spread**2))
    return ((1 + care * face) / (1 + face).mean())[None]


def as_images(x: Tensor) -> Tensor:
    """In the layout that convolutions are fast in."""
    return x.contiguous(memory_format=torch.channels_last)
