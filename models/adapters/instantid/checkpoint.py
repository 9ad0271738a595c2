"""InstantID's published files: `ip-adapter.bin` (a dict of `image_proj` and `ip_adapter`) and IdentityNet's folder."""

from collections.abc import Mapping

from torch import Tensor, nn

from models.adapters.decoupled import ImageProjection, load_image_projection
from models.adapters.instantid.adapter import InstantID
from models.adapters.perceiver import QueryResampler, load_query_resampler
from models.adapters.prefixes import under
from models.sdxl.control import ControlNet
from models.sdxl.text import TextEncoders


def build_instantid(
    state: Mapping[str, Tensor], net: ControlNet, unet: nn.Module, text: TextEncoders, *, face_space: str | None
) -> InstantID:
    """`state` is flat, with the published prefixes. Of `unet` only the layers' order and widths are read.

    `net` is IdentityNet, which belongs into the denoiser's `nets` too, as IDENTITY_NET. Lives where the text encoders
    live. Raises ValueError, KeyError or RuntimeError that names the keys that are wrong.
    """
    resampler, projection = split_instantid(state, unet)
    return InstantID(
        resampler.to(text.device, text.dtype),
        projection.to(text.device, text.dtype),
        net,
        text,
        face_space=face_space,
    )


def split_instantid(state: Mapping[str, Tensor], unet: nn.Module) -> tuple[QueryResampler, ImageProjection]:
    resampler, attention = under("image_proj.", state), under("ip_adapter.", state)
    if not resampler or not attention:
        raise ValueError("the file has no 'image_proj.' or no 'ip_adapter.' entries: it is not an InstantID checkpoint")
    return load_query_resampler(resampler), load_image_projection(attention, unet)
