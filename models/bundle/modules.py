"""From a config and a state dict to a diffusers or transformers module, without ever drawing random weights.

Modules are built on torch's meta device and take the loaded tensors as they are: a 2.6-billion-parameter UNet costs
the time of reading its file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from models.adapters.clip import number_positions
from models.engine.variance_preserving import VariancePreserving
from models.weights.errors import WeightsError

Config = Mapping[str, Any]
State = Mapping[str, Tensor]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Place:
    """Where modules live and in which precision."""

    device: torch.device
    dtype: torch.dtype


EXACT = Place(torch.device("cpu"), torch.float32)


def meta_unet(config: Config) -> UNet2DConditionModel:
    """The module with shapes but no storage."""
    with torch.device("meta"):
        return _from_config(UNet2DConditionModel, config)


def build_unet(config: Config, state: State, place: Place) -> UNet2DConditionModel:
    return _channels_last(_filled(meta_unet(config), state, place))


def build_control_net(config: Config, state: State, place: Place) -> ControlNetModel:
    with torch.device("meta"):
        net = _from_config(ControlNetModel, config)
    return _channels_last(_filled(net, state, place))


def build_vae(config: Config, state: State, place: Place) -> AutoencoderKL | AutoencoderTiny:
    kind = AutoencoderTiny if config.get("_class_name") == "AutoencoderTiny" else AutoencoderKL
    with torch.device("meta"):
        vae = _from_config(kind, config)
    vae = _filled(vae, {_current_attention_name(key): tensor for key, tensor in state.items()}, place)
    return _channels_last(vae)


def build_text_encoder(config: Config, state: State, place: Place) -> CLIPTextModel | CLIPTextModelWithProjection:
    """The kind is told by the weights: only SDXL's second encoder has a projection."""
    kind = CLIPTextModelWithProjection if "text_projection.weight" in state else CLIPTextModel
    with torch.device("meta"):
        encoder = kind(CLIPTextConfig(**config))
    stored_prefix = any(key.startswith("text_model.") for key in state)
    wanted_prefix = any(key.startswith("text_model.") for key in encoder.state_dict())
    renamed = {
        _with_prefix(key, stored_prefix, wanted_prefix): tensor
        for key, tensor in state.items()
        if not key.endswith("position_ids")  # stored by transformers before 4.31, computed since
    }
    return _filled(encoder, renamed, place)


def build_process(config: Config) -> VariancePreserving:
    """The part of a published scheduler_config.json that belongs to the weights; the sampler is ours to choose."""
    if (rule := config.get("beta_schedule", "scaled_linear")) != "scaled_linear":
        raise WeightsError(f"beta_schedule {rule!r} is not supported: SDXL weights use scaled_linear")
    return VariancePreserving(
        train_steps=config.get("num_train_timesteps", 1000),
        beta_start=config.get("beta_start", 0.00085),
        beta_end=config.get("beta_end", 0.012),
        prediction=config.get("prediction_type", "epsilon"),
    )


def _from_config(kind: type[M], config: Config) -> M:
    return kind.from_config({key: value for key, value in config.items() if not key.startswith("_")})  # pyright: ignore[reportAttributeAccessIssue]


def _filled(module: M, state: State, place: Place) -> M:
    """Give a meta module its weights. Raises WeightsError naming what is missing, unexpected or misshapen."""
    _refuse_strangers(module, state)
    module.load_state_dict({key: tensor.to(place.device, place.dtype) for key, tensor in state.items()}, assign=True)
    number_positions(module, place.device)
    return module.eval().requires_grad_(False)


def _refuse_strangers(module: nn.Module, state: State) -> None:
    """One sentence, where torch would list every key of two thousand."""
    kind, wanted = type(module).__name__, module.state_dict()
    missing, surplus = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    misshapen = [key for key in wanted if key in state and wanted[key].shape != state[key].shape]
    problems = [
        *([f"it lacks {len(missing)} weights of a {kind}, like {min(missing)}"] if missing else []),
        *([f"it has {len(surplus)} that no {kind} has, like {min(surplus)}"] if surplus else []),
        *([_misshapen(key, state[key], wanted[key]) for key in misshapen[:1]]),
    ]
    if problems:
        raise WeightsError(f"the file is of another kind or version: {'; '.join(problems)}")


def _misshapen(key: str, found: Tensor, wanted: Tensor) -> str:
    return f"{key} is {list(found.shape)} where its config.json says {list(wanted.shape)}"


def _channels_last(module: M) -> M:
    """The layout in which convolutions are fast on CPUs and tensor cores alike."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - missing from the stubs


_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(r"(?<=attentions\.0\.)(query|key|value|proj_attn)(?=\.)")


def _current_attention_name(key: str) -> str:
    """VAEs saved before diffusers 0.15 name their attention layers otherwise; the published fp16-fix VAE does."""
    return _OLD_NAME.sub(lambda match: _OLD_ATTENTION[match[1]], key)


def _with_prefix(key: str, stored: bool, wanted: bool) -> str:
    """transformers 5 dropped `text_model.` from CLIPTextModel, published files have it."""
    if stored and not wanted:
        return key.removeprefix("text_model.")
    if wanted and not stored and not key.startswith("text_projection"):
        return f"text_model.{key}"
    return key
