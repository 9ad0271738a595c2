"""Which networks are measured: SDXL's own shapes, or small ones that a CPU computes at once."""

from dataclasses import dataclass, field
from typing import Any

PHOTOMAKER, INSTANTID = "photomaker", "instantid"
ADAPTERS = (PHOTOMAKER, INSTANTID)
FACE_TOKENS = 16

_TRUNK: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "projection_class_embeddings_input_dim": 2816,
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
}
_UP = {"up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"]}
_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
    "scaling_factor": 0.13025,
    "sample_size": 1024,
    "force_upcast": False,  # bfloat16 does not overflow
}
_TOY_TRUNK = _TRUNK | {
    "addition_time_embed_dim": 8,
    "attention_head_dim": [2, 2, 2],
    "block_out_channels": [32, 32, 64],
    "cross_attention_dim": 32,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 16,
    "transformer_layers_per_block": [1, 1, 1],
}


@dataclass(frozen=True, slots=True)
class Work:
    """TFLOP of one call at batch 1; a multiplication with its addition counts two, attention 4*B*H*S*T*D."""

    unet: float
    net: float
    decode: float

    def of(self, adapter: str, steps: int) -> float:
        """Of one picture, from its encoded prompt to its pixels."""
        return steps * (self.unet + (self.net if adapter == INSTANTID else 0.0)) + self.decode


@dataclass(frozen=True, slots=True)
class Shapes:
    """Configs of the networks, and the work of each size of square picture."""

    name: str
    unet: dict[str, Any]
    net: dict[str, Any]
    vae: dict[str, Any]
    work: dict[int, Work]
    batches: tuple[int, ...] = (1, 4, 8)
    pooled_width: int = field(default=1280)

    @property
    def factor(self) -> int:
        return 2 ** (len(self.vae["block_out_channels"]) - 1)


# Counted on the meta device from the configs; linears and convolutions alone give 5.98 for the UNet, which is the 2.99
# TMAC that is often quoted.
FULL = Shapes(
    name="full",
    unet=_TRUNK | _UP | {"sample_size": 128},
    net=_TRUNK | {"conditioning_embedding_out_channels": [16, 32, 96, 256]},
    vae=_VAE,
    work={1024: Work(6.761, 2.988, 10.470), 768: Work(3.641, 1.601, 5.754), 512: Work(1.589, 0.689, 2.515)},
)
TOY = Shapes(
    name="toy",
    unet=_TOY_TRUNK | _UP | {"sample_size": 8},
    net=_TOY_TRUNK | {"conditioning_embedding_out_channels": [4, 4, 4, 4]},
    vae=_VAE | {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1, "sample_size": 64},
    work={64: Work(2e-4, 1e-4, 2e-4)},
    batches=(1, 2),
    pooled_width=16,
)
SHAPES = {shapes.name: shapes for shapes in (FULL, TOY)}
