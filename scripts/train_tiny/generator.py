"""The generator: UNet, both text encoders and PhotoMaker's ID encoders, trained together from scratch.

Given a person and a prompt a portrait is nearly determined, so one network evaluation at the noisiest timestep already
says what it will be. Every item is seen twice, as a sampler sees it: first as noise alone, then at a later timestep,
where most often its own first guess is what was noised. So the network learns at the timesteps of trailing samplers,
and to mend what it got wrong before: few steps and no guidance are enough, and more steps do no harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTokenizer

from models.adapters.photomaker.encoder import EncoderShape, PerceiverShape, PhotoMakerEncoder, VisionShape
from models.adapters.photomaker.trigger import expand, with_trigger
from models.sdxl.attention import ImageBatch, install_attention
from scripts.train_tiny.cache import EMBEDDINGS, TOWER_SIZE, Lessons, read_lessons
from scripts.train_tiny.instant import Instant, Placed
from scripts.train_tiny.prompts import draw_prompt
from scripts.train_tiny.ranks import join
from scripts.train_tiny.reader import LatentReader, reading_loss, style_classes, trained_reader
from scripts.train_tiny.shards import PORTRAITS, SELFIES
from scripts.train_tiny.style import Style
from scripts.train_tiny.text import END, WIDTHS, build_text_encoders, general_words, read_tokenizers
from scripts.train_tiny.tower import clip_normalised
from scripts.train_tiny.trainer import Trainer, averaged_state, channels_last, seeded
from scripts.train_tiny.vae import LATENT_CHANNELS

IMAGE_SIZE = 256
LATENT_SIZE = 16
CROSS_WIDTH = sum(WIDTHS)
CHANNELS = (64, 96, 128)
ITEMS = 16  # people and prompts per step, each at two timesteps that share one text and identity encoding
TEXT_ONLY = 0.1  # share of items without a person, so that strength 0 works
SEVERAL = 0.2  # share with two selfies
LONE = 0.25  # share of PhotoMaker's items that get but the first token of each selfie: v1 has no second one
# By which adapter a person comes: PhotoMaker, the default one, or InstantID.
ADAPTERS, ADAPTER_ODDS = ("photomaker", "instantid"), (0.75, 0.25)
POSED = 0.6  # share of InstantID's items whose face is somewhere else than in the middle
READING, FEELING = 0.03, 0.15  # weights of the reader's two losses beside the velocity's
BROAD = 4.0  # of the error in squares of 64 pixels, which detail drowns: light and tone
LEAST_NOISE = 0.15  # an error of the guess at timestep t weighs 1 / noise share, at most 1 / this
BLUR = 0.08  # noise on embeddings, whose numbers have unit spread: a few thousand people must stand for all others
FIRST = 999
ROLLED = 0.6  # share of second looks at the own guess; the others are at the noised truth
# Second looks: the rest of the trailing grids of 4 steps, 8, and 2 (which is part of them); what is left is uniform.
TIMESTEPS = (749, 499, 249, 874, 624, 374, 124)
TIMESTEP_ODDS = (0.27, 0.22, 0.18, 0.05, 0.05, 0.05, 0.05)
SCHEDULER = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def encoder_shape() -> EncoderShape:
    """PhotoMaker v2 in small: two tokens per selfie."""
    return EncoderShape(
        vision=VisionShape(
            hidden_size=96,
            intermediate_size=192,
            num_attention_heads=3,
            num_hidden_layers=2,
            patch_size=16,
            image_size=TOWER_SIZE,
            projection_dim=WIDTHS[0],
        ),
        cross_attention_dim=CROSS_WIDTH,
        perceiver=PerceiverShape(depth=2, heads=4, dim_head=48, ff_mult=2, token_proj_ratio=1),
    )


def build_unet() -> UNet2DConditionModel:
    """SDXL's layout. `attention_head_dim` is the number of heads in this class, as in SDXL's own config."""
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 1),  # pyright: ignore[reportArgumentType]
        attention_head_dim=tuple(width // 32 for width in CHANNELS),  # pyright: ignore[reportArgumentType]
        cross_attention_dim=CROSS_WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=WIDTHS[1] + 6 * 32,
        use_linear_projection=True,
        norm_num_groups=16,
    )
    install_attention(unet, fuse=False)
    return unet


@dataclass(frozen=True, slots=True)
class Person:
    """What InstantID brings to the rows of one UNet call that it acts in."""

    rows: Tensor  # [N]
    tokens: Tensor  # [N, TOKENS, D]
    hints: Tensor  # [N, C, 16, 16], encoded
    image: ImageBatch


class Generator(nn.Module):
    """Everything that is trained together. The ID encoder is PhotoMaker v2's; v1's learns from it (imitate.py)."""

    def __init__(self, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]) -> None:
        super().__init__()
        self.text_encoder, self.text_encoder_2 = build_text_encoders(tokenizers)
        self.unet = build_unet()
        self.id_encoder = PhotoMakerEncoder(encoder_shape())
        self.instant = Instant(self.unet, IMAGE_SIZE)

    def encode_text(self, ids: Tensor, second_ids: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 77] each -> embeds [B, 77, D], pooled [B, P]; SDXL's penultimate states."""
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(second_ids, output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds

    def denoise(
        self, x: Tensor, timesteps: Tensor, embeds: Tensor, pooled: Tensor, person: Person | None = None
    ) -> Tensor:
        size = torch.tensor([IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE], dtype=torch.float32)
        added = {"text_embeds": pooled, "time_ids": size.expand(len(x), 6)}
        residuals: list[Tensor] = []
        if person is not None:
            residuals = self.instant.residuals(x, timesteps, person.tokens, person.hints, added, person.rows)
        return self.unet(
            x,
            timesteps,
            embeds,
            added_cond_kwargs=added,
            cross_attention_kwargs={"image": person.image if person else None},
            down_block_additional_residuals=tuple(residuals[:-1]) or None,
            mid_block_additional_residual=residuals[-1] if residuals else None,
            return_dict=False,
        )[0]


@dataclass(slots=True)
class People:
    """The selfies that the ID encoder sees; their tokens are written at (`rows`, `columns`) of the prompts."""

    rows: list[int] = field(default_factory=list)  # M
    columns: list[int] = field(default_factory=list)  # M
    tokens: list[int] = field(default_factory=list)  # M: which of the N * 2 tokens is written there
    pixels: list[Tensor] = field(default_factory=list)  # N of [3, 112, 112]
    embeddings: list[Tensor] = field(default_factory=list)  # N of [512]


@dataclass(frozen=True, slots=True)
class Batch:
    """ITEMS items."""

    latents: Tensor  # [B, C, 16, 16]
    ids: Tensor  # [B, 77]
    second_ids: Tensor  # [B, 77]
    people: People
    placed: Placed
    classes: Tensor  # [B, heads]: what the reader should read
    measures: Tensor  # [B, numbers]
    weight: Tensor  # [B, 1, 16, 16]
    readable: Tensor  # [B] bool: False where nobody in particular is shown, or not where the reader expects it


@dataclass(frozen=True, slots=True)
class Steered:
    """What steers the network for all of a batch."""

    embeds: Tensor  # [B, 77, D]
    pooled: Tensor  # [B, P]
    person: Person | None


@dataclass(frozen=True, slots=True)
class Item:
    latents: Tensor  # [C, 16, 16]
    ids: Sequence[int]
    classes: Tensor  # [heads]
    measures: Tensor  # [numbers]
    weight: Tensor  # [1, 16, 16]
    readable: bool


class Classroom:
    """Draws batches from cached lessons. Belongs to one training loop."""

    def __init__(self, lessons: list[Lessons], tokenizer: CLIPTokenizer, rng: np.random.Generator) -> None:
        """`tokenizer` is taught the trigger here; the second encoder's ids differ from it in padding only."""
        self._lessons = lessons
        self._tokenizer = tokenizer
        self._rng = rng
        self._words = general_words()
        with_trigger(tokenizer)

    def draw(self) -> Batch:
        people, placed = People(), Placed()
        items = [self._item(row, people, placed) for row in range(ITEMS)]
        ids = torch.tensor([item.ids for item in items])
        return Batch(
            latents=_channels_last(torch.stack([item.latents for item in items]).float()),
            ids=ids,
            second_ids=other_padding(ids, self._tokenizer),
            people=people,
            placed=placed,
            classes=torch.stack([item.classes for item in items]),
            measures=torch.stack([item.measures for item in items]),
            weight=torch.stack([item.weight for item in items]),
            readable=torch.tensor([item.readable for item in items]),
        )

    def _item(self, row: int, people: People, placed: Placed) -> Item:
        """One picture to draw; its person is added to `people` or `placed`."""
        lesson = self._lessons[self._rng.integers(len(self._lessons))]
        portraits, selfies, posed = lesson.portraits, lesson.selfies, lesson.posed
        person, k = int(self._rng.integers(len(portraits.latents))), int(self._rng.integers(PORTRAITS))
        several = self._rng.random() < SEVERAL
        chosen = [*range(SELFIES)] if several else [int(self._rng.integers(SELFIES))]
        embeddings = [selfies.embeddings[person, i, self._rng.integers(EMBEDDINGS)] for i in chosen]
        adapter = str(self._rng.choice(ADAPTERS, p=ADAPTER_ODDS)) if self._rng.random() > TEXT_ONLY else None
        elsewhere = adapter == "instantid" and self._rng.random() < POSED
        style = posed.styles[person] if elsewhere else portraits.styles[person * PORTRAITS + k]
        latents = posed.latents[person] if elsewhere else portraits.latents[person, k]
        landmarks = posed.landmarks[person] if elsewhere else portraits.landmarks[person, k]
        prompt = self._prompt(style, portraits.feminine[person])
        each = encoder_shape().tokens_per_picture
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
            weight=face_weight(landmarks),
            readable=adapter is not None and not elsewhere,
        )

    def _prompt(self, style: Style, feminine: bool) -> str:
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


def relit(pixels: list[Tensor], rng: np.random.Generator) -> Tensor:
    """Selfies of uint8 in other light -> CLIP's numbers [N, 3, 112, 112]."""
    gain = rng.uniform(0.75, 1.2, (len(pixels), 1, 1, 1)) * rng.uniform(0.93, 1.07, (len(pixels), 3, 1, 1))
    return clip_normalised((torch.stack(pixels).float() / 255 * torch.from_numpy(gain).float()).clamp(0, 1))


def signal_rates() -> tuple[Tensor, Tensor]:
    """Per timestep the shares of signal and noise, [1000] each."""
    roots = torch.linspace(SCHEDULER["beta_start"] ** 0.5, SCHEDULER["beta_end"] ** 0.5, 1000)
    kept = torch.cumprod(1 - roots**2, 0)
    return kept.sqrt(), (1 - kept).sqrt()


def train_generator(shards: Path, cache: Path, text: Path, folder: Path, budget_seconds: float) -> None:
    rank = join()
    rng, _ = seeded(8, folder, "generator", rank)
    tokenizers = read_tokenizers(text)
    generator = Generator(tokenizers)
    channels_last(generator.unet)
    channels_last(generator.instant)
    reader = trained_reader(folder)
    classroom = Classroom(read_lessons(shards, cache), tokenizers[0], rng)
    signal, noise = signal_rates()

    def look(x: Tensor, timesteps: Tensor, steered: Steered, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The clean latents that the network reads out of `x` at `timesteps`, and what is wrong with them."""
        a, s = (rate[timesteps].view(-1, 1, 1, 1) for rate in (signal, noise))
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):  # fused ones train slowly
            velocity = generator.denoise(x, timesteps, steered.embeds, steered.pooled, steered.person).float()
        guess = _channels_last(a * x - s * velocity)
        gap = guess - batch.latents
        wrong = (gap.square() * batch.weight / s.square().clamp(min=LEAST_NOISE)).mean()  # as a velocity's error
        broad = BROAD * F.avg_pool2d(gap, 4).square().mean()
        return guess, {"velocity": 0.5 * wrong, "broad": 0.5 * broad, **_reader_losses(reader, guess, batch)}

    def loss_of(step: int) -> dict[str, Tensor]:
        batch = classroom.draw()
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            embeds, pooled = conditioned(generator, batch.ids, batch.second_ids, batch.people, rng)
            steered = Steered(embeds, pooled, _instant_person(generator.instant, batch.placed, rng))
        # A sampler starts from noise alone, while the schedule's last timestep still holds 7 % of the picture.
        start = _channels_last(noise[FIRST] * torch.randn_like(batch.latents))
        guess, first = look(start, torch.full((ITEMS,), FIRST), steered, batch)
        own = guess.detach()
        rolled = torch.from_numpy(rng.random((ITEMS, 1, 1, 1)) < ROLLED)
        seen = torch.where(rolled, own, batch.latents)
        left = torch.where(rolled, (start - signal[FIRST] * own) / noise[FIRST], torch.randn_like(start))
        later = _draw_timesteps(ITEMS, rng)
        a, s = (rate[later].view(-1, 1, 1, 1) for rate in (signal, noise))
        _, second = look(_channels_last(a * seen + s * left), later, steered, batch)
        return {name: first[name] + second[name] for name in first}

    Trainer("generator", generator, folder, rate=1.2e-3).run(loss_of, budget_seconds)


def trained_generator(text: Path, folder: Path) -> Generator:
    generator = Generator(read_tokenizers(text))
    generator.load_state_dict(averaged_state(folder, "generator"))
    return generator.eval().requires_grad_(False)


def _reader_losses(reader: LatentReader, guess: Tensor, batch: Batch) -> dict[str, Tensor]:
    """What the reader makes of `guess` [B, C, 16, 16]: is it the right person, and does it feel the same?"""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, measures, felt = reader(guess)
        with torch.no_grad():
            *_, meant = reader(batch.latents)
    wrong = reading_loss(logits, measures, batch.classes, batch.measures)
    apart = [(f.float() - m.float()).square().mean((1, 2, 3)) for f, m in zip(felt, meant, strict=True)]
    readable = batch.readable.float()
    return {
        "reading": 0.5 * READING * (wrong * readable).mean(),
        "feeling": 0.5 * FEELING * (torch.stack(apart).sum(0) * readable).mean(),
    }


def conditioned(
    generator: Generator, ids: Tensor, second_ids: Tensor, people: People, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """The prompts, encoded, with the people in them."""
    embeds, pooled = generator.encode_text(ids, second_ids)
    encoder = generator.id_encoder
    if people.pixels:
        known = torch.stack([embedding.float() for embedding in people.embeddings])
        tokens = encoder(relit(people.pixels, rng), known + BLUR * torch.randn_like(known)).flatten(0, 1)
        where = (torch.tensor(people.rows), torch.tensor(people.columns))
        fused = encoder.fuse_module(embeds[where], tokens[torch.tensor(people.tokens)])  # [M, D]
        embeds = embeds.index_put(where, fused.to(embeds.dtype))
    return embeds, pooled


def _instant_person(instant: Instant, placed: Placed, rng: np.random.Generator) -> Person | None:
    if not placed.rows:
        return None
    rows, tokens = torch.tensor(placed.rows), instant.tokens(placed, BLUR)
    return Person(rows, tokens, instant.hints(placed, rng), instant.image(tokens, rows, ITEMS))


def _draw_timesteps(number: int, rng: np.random.Generator) -> Tensor:
    odds = np.array(TIMESTEP_ODDS)
    grid = rng.choice(TIMESTEPS, size=number, p=odds / odds.sum())
    uniform = rng.integers(0, 1000, size=number)
    return torch.from_numpy(np.where(rng.random(number) < odds.sum(), grid, uniform))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def face_weight(landmarks: Tensor) -> Tensor:
    """[5, 2] in pixels -> [1, 16, 16] of mean 1: the face counts up to three times as much as the rest, eyes seven."""
    right, left = landmarks[0], landmarks[1]
    span = (left - right).norm()
    nose = (right + left) / 2 + span * torch.tensor([0.0, 0.4])
    grid = (torch.arange(LATENT_SIZE) + 0.5) * (IMAGE_SIZE / LATENT_SIZE)
    weight = torch.ones(LATENT_SIZE, LATENT_SIZE)
    for (x, y), spread, height in ((nose, span, 2.0), (right, 12.0, 4.0), (left, 12.0, 4.0)):
        weight += height * torch.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * spread**2))
    return (weight / weight.mean())[None]
