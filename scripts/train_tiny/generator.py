"""The generator: UNet, both text encoders and PhotoMaker's ID encoder, trained together from scratch.

Given a person and a prompt a portrait is nearly determined, so one network evaluation at the noisiest timestep already
says what it will be; trained at exactly the timesteps of trailing samplers it needs few steps and no guidance.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from models.adapters.photomaker.encoder import EncoderShape, PerceiverShape, PhotoMakerEncoder, VisionShape
from models.adapters.photomaker.pixels import MEAN, STD
from models.adapters.photomaker.trigger import expand, with_trigger
from scripts.train_tiny.cache import EMBEDDINGS, TOWER_SIZE, Lessons, read_cache
from scripts.train_tiny.prompts import draw_prompt
from scripts.train_tiny.ranks import join
from scripts.train_tiny.shards import PORTRAITS, SELFIES
from scripts.train_tiny.text import END, WIDTHS, build_text_encoders, general_words, read_tokenizers
from scripts.train_tiny.trainer import Trainer, channels_last
from scripts.train_tiny.vae import LATENT_CHANNELS

IMAGE_SIZE = 256
LATENT_SIZE = 16
CROSS_WIDTH = sum(WIDTHS)
CHANNELS = (64, 96, 128)
ITEMS = 16  # people and prompts per step ...
NOISES = 2  # ... each at this many timesteps, which share one text and identity encoding
TEXT_ONLY = 0.1  # share of items without a person, so that strength 0 works
SEVERAL = 0.15  # share with two selfies
BLUR = 0.08  # noise on embeddings, whose numbers have unit spread: a few thousand people must stand for all others
# Trailing grids of 4 steps, of 8, and of 2 and 1 (which are parts of them); the rest is uniform.
TIMESTEPS = (999, 749, 499, 249, 874, 624, 374, 124)
TIMESTEP_ODDS = (0.34, 0.18, 0.15, 0.12, 0.03, 0.03, 0.03, 0.03)
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
    unet.set_attn_processor(AttnProcessor())  # the fused attention's backward is slow on a CPU
    return unet


class Generator(nn.Module):
    """Everything that is trained together."""

    def __init__(self, tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]) -> None:
        super().__init__()
        self.text_encoder, self.text_encoder_2 = build_text_encoders(tokenizers)
        self.unet = build_unet()
        self.id_encoder = PhotoMakerEncoder(encoder_shape())

    def encode_text(self, ids: Tensor, second_ids: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 77] each -> embeds [B, 77, D], pooled [B, P]; SDXL's penultimate states."""
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(second_ids, output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds

    def denoise(self, x: Tensor, timesteps: Tensor, embeds: Tensor, pooled: Tensor) -> Tensor:
        size = torch.tensor([IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE], dtype=torch.float32)
        added = {"text_embeds": pooled, "time_ids": size.expand(len(x), 6)}
        return self.unet(x, timesteps, embeds, added_cond_kwargs=added, return_dict=False)[0]


@dataclass(frozen=True, slots=True)
class Batch:
    """ITEMS items; the tokens of all selfies are written at (`rows`, `columns`) of the prompts."""

    latents: Tensor  # [B, C, 16, 16]
    ids: Tensor  # [B, 77]
    second_ids: Tensor  # [B, 77]
    rows: Tensor  # [M]
    columns: Tensor  # [M]
    pixels: Tensor  # [N, 3, 112, 112]
    embeddings: Tensor  # [N, 512]


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
        ids, rows, columns, latents, pixels, embeddings = [], [], [], [], [], []
        for item in range(ITEMS):
            lesson = self._lessons[self._rng.integers(len(self._lessons))]
            person, k = int(self._rng.integers(len(lesson.latents))), int(self._rng.integers(PORTRAITS))
            chosen = [*range(SELFIES)] if self._rng.random() < SEVERAL else [int(self._rng.integers(SELFIES))]
            prompt = self._prompt(lesson, person, k)
            expanded = expand(self._tokenizer, prompt, encoder_shape().tokens_per_picture * len(chosen))
            latents.append(lesson.latents[person, k])
            if self._rng.random() < TEXT_ONLY:
                ids.append(expanded.plain_ids)
                continue
            ids.append(expanded.ids)
            rows += [item] * len(expanded.positions)
            columns += expanded.positions
            pixels += [lesson.pixels[person, selfie] for selfie in chosen]
            embeddings += [lesson.embeddings[person, selfie, self._rng.integers(EMBEDDINGS)] for selfie in chosen]
        first = torch.tensor(ids)
        return Batch(
            latents=torch.stack(latents).float(),
            ids=first,
            second_ids=other_padding(first, self._tokenizer),
            rows=torch.tensor(rows),
            columns=torch.tensor(columns),
            pixels=clip_normalised(torch.stack(pixels), self._rng),
            embeddings=torch.stack([e.float() + BLUR * torch.randn(len(e)) for e in embeddings]),
        )

    def _prompt(self, lesson: Lessons, person: int, k: int) -> str:
        """One in six has a few words that mean nothing here: they must not disturb."""
        prompt = draw_prompt(self._rng, lesson.styles[person * PORTRAITS + k], lesson.feminine[person])
        if self._rng.random() > 1 / 6:
            return prompt
        extra = " ".join(self._rng.choice(self._words, size=int(self._rng.integers(1, 4))))
        return f"{prompt}, {extra}"


def other_padding(ids: Tensor, tokenizer: CLIPTokenizer) -> Tensor:
    """[B, 77] padded with end-of-text -> the second tokenizer's, padded with token 0 behind the first end-of-text."""
    ended = ids.eq(tokenizer.get_vocab()[END]).cumsum(dim=1) > 1
    return ids.masked_fill(ended, 0)


def clip_normalised(pixels: Tensor, rng: np.random.Generator | None = None) -> Tensor:
    """[N, 3, 112, 112] uint8 -> CLIP's numbers; with `rng` in other light."""
    x = pixels.float() / 255
    if rng is not None:
        gain = torch.from_numpy(rng.uniform(0.75, 1.2, (len(x), 1, 1, 1)) * rng.uniform(0.93, 1.07, (len(x), 3, 1, 1)))
        x = (x * gain.float()).clamp(0, 1)
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def signal_rates() -> tuple[Tensor, Tensor]:
    """Per timestep the shares of signal and noise, [1000] each."""
    roots = torch.linspace(SCHEDULER["beta_start"] ** 0.5, SCHEDULER["beta_end"] ** 0.5, 1000)
    kept = torch.cumprod(1 - roots**2, 0)
    return kept.sqrt(), (1 - kept).sqrt()


def train_generator(shards: Path, cache: Path, text: Path, folder: Path, budget_seconds: float) -> None:
    rank = join()
    rng = np.random.default_rng([8, rank])
    torch.manual_seed(8 + rank)
    tokenizers = read_tokenizers(text)
    generator = Generator(tokenizers)
    channels_last(generator.unet)
    classroom = Classroom(list(read_cache(shards, cache)), tokenizers[0], rng)
    signal, noise = signal_rates()
    weight = _face_weight()

    def loss_of(step: int) -> dict[str, Tensor]:
        batch = classroom.draw()
        timesteps = _draw_timesteps(ITEMS * NOISES, rng)
        target = batch.latents.repeat(NOISES, 1, 1, 1)
        a, s = signal[timesteps].view(-1, 1, 1, 1), noise[timesteps].view(-1, 1, 1, 1)
        drawn = torch.randn_like(target)
        noisy = (a * target + s * drawn).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embeds, pooled = _conditioned(generator, batch)
            velocity = generator.denoise(noisy, timesteps, embeds.repeat(NOISES, 1, 1), pooled.repeat(NOISES, 1))
        error = ((velocity.float() - (a * drawn - s * target)).square() * weight).mean((1, 2, 3))
        return {"velocity": error.mean()}

    Trainer("generator", generator, folder, rate=1.2e-3).run(loss_of, budget_seconds)


def _conditioned(generator: Generator, batch: Batch) -> tuple[Tensor, Tensor]:
    embeds, pooled = generator.encode_text(batch.ids, batch.second_ids)
    tokens = generator.id_encoder(batch.pixels, batch.embeddings).flatten(0, 1)  # [M, D]
    fused = generator.id_encoder.fuse_module(embeds[batch.rows, batch.columns], tokens)
    return embeds.index_put((batch.rows, batch.columns), fused.to(embeds.dtype)), pooled


def _draw_timesteps(number: int, rng: np.random.Generator) -> Tensor:
    odds = np.array(TIMESTEP_ODDS)
    grid = rng.choice(TIMESTEPS, size=number, p=odds / odds.sum())
    uniform = rng.integers(0, 1000, size=number)
    return torch.from_numpy(np.where(rng.random(number) < odds.sum(), grid, uniform))


def _face_weight() -> Tensor:
    """[1, 1, 16, 16] of mean 1: the face counts up to three times as much as the rest."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, LATENT_SIZE), torch.linspace(-1, 1, LATENT_SIZE), indexing="ij")
    weight = 1 + 2 * torch.exp(-((x / 0.45) ** 2 + ((y + 0.08) / 0.5) ** 2))
    return (weight / weight.mean())[None, None]
