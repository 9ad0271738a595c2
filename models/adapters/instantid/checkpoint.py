"""InstantID's published files: `ip-adapter.bin` (a dict of `image_proj` and `ip_adapter`) and IdentityNet's folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from models.adapters.decoupled import ImageProjection, load_image_projection
from models.adapters.instantid.adapter import InstantID
from models.adapters.perceiver import QueryResampler, load_query_resampler
from models.sdxl.control import ControlNet
from models.sdxl.text import TextEncoders
from models.weights.modules import Place, build_control_net


@dataclass(frozen=True, slots=True)
class LoadedInstantID:
    adapter: InstantID
    net: ControlNet  # belongs into the denoiser's `nets` as IDENTITY_NET


def load_instantid(
    state: Mapping[str, Tensor],
    net_config: Mapping[str, Any],
    net_state: Mapping[str, Tensor],
    unet: nn.Module,
    text: TextEncoders,
    place: Place,
    *,
    face_space: str | None,
) -> LoadedInstantID:
    """`state` is flat, with the published prefixes. Of `unet` only the layers' order and widths are read.

    Raises ValueError, KeyError or RuntimeError that names the keys that are wrong.
    """
    resampler, projection = split_instantid(state, unet)
    net = ControlNet(build_control_net(net_config, net_state, place))
    adapter = InstantID(
        resampler.to(place.device, place.dtype),
        projection.to(place.device, place.dtype),
        net,
        text,
        face_space=face_space,
    )
    return LoadedInstantID(adapter, net)


def split_instantid(state: Mapping[str, Tensor], unet: nn.Module) -> tuple[QueryResampler, ImageProjection]:
    resampler, attention = _under("image_proj.", state), _under("ip_adapter.", state)
    if not resampler or not attention:
        raise ValueError("the file has no 'image_proj.' or no 'ip_adapter.' entries: it is not an InstantID checkpoint")
    return load_query_resampler(resampler), load_image_projection(attention, unet)


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
