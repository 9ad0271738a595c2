"""IP-Adapter's published files: `ip-adapter-plus-face_sdxl_vit-h.safetensors` and the folder of the image encoder."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from models.adapters.decoupled import ImageProjection, load_image_projection
from models.adapters.ip_adapter.adapter import IPAdapter
from models.adapters.ip_adapter.image_encoder import load_image_encoder
from models.adapters.perceiver import QueryResampler, load_query_resampler
from models.adapters.prefixes import under
from models.sdxl.text import TextEncoders


def build_ip_adapter(
    state: Mapping[str, Tensor],
    encoder_config: Mapping[str, Any],
    encoder_state: Mapping[str, Tensor],
    unet: nn.Module,
    text: TextEncoders,
) -> IPAdapter:
    """`state` is flat, with the published prefixes. Of `unet` only the layers' order and widths are read.

    Lives where the text encoders live. Raises ValueError, KeyError or RuntimeError that names the keys that are wrong.
    """
    resampler, projection = split_ip_adapter(state, unet)
    encoder = load_image_encoder(encoder_config, encoder_state, text.device, text.dtype)
    wanted, found = resampler.proj_in.in_features, encoder_config["hidden_size"]
    if wanted != found:
        raise ValueError(f"the adapter reads an image encoder of width {wanted}; this one has {found}")
    return IPAdapter(encoder, resampler.to(text.device, text.dtype), projection.to(text.device, text.dtype), text)


def split_ip_adapter(state: Mapping[str, Tensor], unet: nn.Module) -> tuple[QueryResampler, ImageProjection]:
    """Raises ValueError for a file of the family that is not of the "plus" kind, too."""
    resampler, attention = under("image_proj.", state), under("ip_adapter.", state)
    if "latents" not in resampler or not attention:
        raise ValueError(
            "the file has no 'image_proj.latents' or no 'ip_adapter.' entries: it is not an IP-Adapter plus checkpoint"
        )
    return load_query_resampler(resampler), load_image_projection(attention, unet)
