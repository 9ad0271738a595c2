"""PhotoMaker's ID encoders: selfies in, ID tokens out, and the fuse that writes tokens into a prompt.

Parameter names are those of the published checkpoints, so a state dict loads as it is. Unlike the reference, nothing
here works in place or assumes a batch of one: tokens belong to one picture each, and a fuse touches one prompt.
Sources: PhotoMaker (arXiv 2312.04461); `TencentARC/PhotoMaker` v1 and v2.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from models.adapters.perceiver import PerceiverResampler, ResamplerShape


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionShape:
    """The CLIP image tower; the defaults are OpenAI's ViT-L/14 (the v2 card's "ViT-H-14" is a mistake)."""

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_attention_heads: int = 16
    num_hidden_layers: int = 24
    patch_size: int = 14
    image_size: int = 224
    projection_dim: int = 768
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5

    def config(self) -> CLIPVisionConfig:
        names = self.__dataclass_fields__
        return CLIPVisionConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceiverShape:
    """v2's resampler over image tokens, asked by the face embedding."""

    depth: int = 4
    heads: int = 16
    dim_head: int = 128
    ff_mult: int = 4
    id_embeddings_dim: int = 512
    num_tokens: int = 2
    token_proj_ratio: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """Everything that decides tensor shapes. `perceiver` is None in v1."""

    vision: VisionShape = field(default_factory=VisionShape)
    cross_attention_dim: int = 2048
    perceiver: PerceiverShape | None = None

    @property
    def version(self) -> str:
        return "v1" if self.perceiver is None else "v2"

    @property
    def tokens_per_picture(self) -> int:
        """1 in v1, 2 in v2 (the reference's HEAD hard-codes 2 and so breaks v1)."""
        return 1 if self.perceiver is None else self.perceiver.num_tokens


class Mlp(nn.Module):
    """LayerNorm, two linears with an exact GELU between; adds its input back where `residual`."""

    def __init__(self, width_in: int, width_out: int, *, residual: bool) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(width_in)
        self.fc1 = nn.Linear(width_in, width_out)
        self.fc2 = nn.Linear(width_out, width_out)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc2(F.gelu(self.fc1(self.layernorm(x))))
        return x + y if self.residual else y


class Fuse(nn.Module):
    """One ID token into one class-word embedding, each pair on its own."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp1 = Mlp(2 * width, width, residual=False)
        self.mlp2 = Mlp(width, width, residual=True)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, prompt: Tensor, token: Tensor) -> Tensor:
        """`prompt`, `token`: [..., D] -> [..., D]."""
        fused = self.mlp1(torch.cat([prompt, token], dim=-1)) + prompt
        return self.layer_norm(self.mlp2(fused))


class FacePerceiver(nn.Module):
    """v2: the face embedding asks, the image tokens answer."""

    def __init__(self, width: int, context_width: int, shape: PerceiverShape) -> None:
        super().__init__()
        self.num_tokens = shape.num_tokens
        hidden = shape.id_embeddings_dim * shape.token_proj_ratio
        self.token_proj = nn.Sequential(
            nn.Linear(shape.id_embeddings_dim, hidden), nn.GELU(), nn.Linear(hidden, width * shape.num_tokens)
        )
        self.token_norm = nn.LayerNorm(width)
        self.perceiver_resampler = PerceiverResampler(
            ResamplerShape(
                width=width,
                context_width=context_width,
                out_width=width,
                depth=shape.depth,
                heads=shape.heads,
                dim_head=shape.dim_head,
                ff_mult=shape.ff_mult,
            )
        )

    def forward(self, face_embedding: Tensor, context: Tensor) -> Tensor:
        """face_embedding [N, 512], context [N, T, W] -> [N, k, D]."""
        query = self.token_norm(self.token_proj(face_embedding).unflatten(-1, (self.num_tokens, -1)))
        return query + self.perceiver_resampler(query, context)


class PhotoMakerEncoder(nn.Module):
    """Both published encoders; which one is decided by `shape.perceiver`."""

    qformer_perceiver: FacePerceiver | None

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.shape = shape
        vision, width = shape.vision, shape.cross_attention_dim
        self.vision_model = CLIPVisionModel(vision.config())
        self.visual_projection = nn.Linear(vision.hidden_size, vision.projection_dim, bias=False)
        self.visual_projection_2 = nn.Linear(vision.hidden_size, width - vision.projection_dim, bias=False)
        self.fuse_module = Fuse(width)
        if shape.perceiver is None:
            self.qformer_perceiver = None
        else:
            self.qformer_perceiver = FacePerceiver(width, vision.hidden_size, shape.perceiver)

    def forward(self, pixels: Tensor, face_embeddings: Tensor | None = None) -> Tensor:
        """ID tokens, independent of any prompt.

        pixels: [N, 3, S, S], CLIP-normalised. face_embeddings: [N, 512] *raw* recogniser outputs (v2 only;
        normalised ones change the result grossly). Returns [N, k, D], k tokens a picture.
        """
        seen = self.vision_model(pixels)
        if self.qformer_perceiver is None:
            pooled = seen.pooler_output  # [N, W], after post_layernorm
            # The text encoder order, 768 before 1280: swapped projections load, run and lose the person.
            return torch.cat([self.visual_projection(pooled), self.visual_projection_2(pooled)], dim=-1)[:, None]
        if face_embeddings is None:
            raise ValueError("PhotoMaker v2 needs a face embedding for every picture")
        return self.qformer_perceiver(face_embeddings, seen.last_hidden_state)

    def fuse(self, prompt: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
        """A copy of `prompt` [77, D] whose rows at `positions` [M] are fused with `tokens` [M, D], in that order."""
        fused = prompt.clone()
        fused[positions] = self.fuse_module(prompt[positions], tokens).to(prompt.dtype)
        return fused
