"""The generator: UNet, text encoders, PhotoMaker's ID encoder and InstantID's parts, trained together from scratch.

Given a person and a prompt a portrait is nearly determined, so one network evaluation at the noisiest timestep already
says what it will be.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTokenizer

from models.adapters.photomaker.encoder import EncoderShape, PerceiverShape, PhotoMakerEncoder, VisionShape
from models.sdxl.attention import ImageBatch, install_attention
from scripts.train_tiny.lessons.cache import TOWER_SIZE
from scripts.train_tiny.lessons.instant import Instant
from scripts.train_tiny.lessons.text import WIDTHS, build_text_encoders, read_tokenizers
from scripts.train_tiny.lessons.trainer import averaged_state
from scripts.train_tiny.lessons.vae import LATENT_CHANNELS, LATENT_SIZE, WHOLE

CROSS_WIDTH = sum(WIDTHS)
CHANNELS = (64, 96, 128)
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
        self.instant = Instant(self.unet, WHOLE)

    def encode_text(self, ids: Tensor, second_ids: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 77] each -> embeds [B, 77, D], pooled [B, P]; SDXL's penultimate states."""
        first = self.text_encoder(ids, output_hidden_states=True)
        second = self.text_encoder_2(second_ids, output_hidden_states=True)
        return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds

    def denoise(
        self, x: Tensor, timesteps: Tensor, embeds: Tensor, pooled: Tensor, person: Person | None = None
    ) -> Tensor:
        size = torch.tensor([WHOLE, WHOLE, 0, 0, WHOLE, WHOLE], dtype=torch.float32)
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


def trained_generator(text: Path, folder: Path) -> Generator:
    """As far as it has come."""
    generator = Generator(read_tokenizers(text))
    generator.load_state_dict(averaged_state(folder, "generator"))
    return generator.eval().requires_grad_(False)
