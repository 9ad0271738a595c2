"""The published PhotoMaker files: a dict of `id_encoder` and `lora_weights`, as pickle or safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.adapters.clip import filled
from models.adapters.photomaker.encoder import EncoderShape, PerceiverShape, PhotoMakerEncoder, VisionShape
from models.adapters.photomaker.spec import ENCODER, LORA
from models.adapters.prefixes import under

V2_MARK = "qformer_perceiver.token_norm.weight"


@dataclass(frozen=True, slots=True)
class PhotoMakerCheckpoint:
    encoder: dict[str, Tensor]
    lora: dict[str, Tensor]
    shape: EncoderShape


def split_checkpoint(state: Mapping[str, Tensor], shape: EncoderShape | None = None) -> PhotoMakerCheckpoint:
    """`state` is flat, with the published prefixes; the version is read off its keys.

    Without `shape` the published full sizes are meant.
    """
    encoder = under(ENCODER, state)
    if not encoder:
        raise ValueError(f"the PhotoMaker file has no '{ENCODER}' entries: it is not a PhotoMaker checkpoint")
    if shape is None:
        shape = EncoderShape(perceiver=PerceiverShape() if V2_MARK in encoder else None)
    return PhotoMakerCheckpoint(encoder, under(LORA, state), shape)


def read_shape(config: Mapping[str, Any]) -> EncoderShape:
    """Of the `config.json` beside a checkpoint of other than the published sizes."""
    perceiver = config.get("perceiver")
    vision_names = VisionShape.__dataclass_fields__
    return EncoderShape(
        vision=VisionShape(**{k: v for k, v in config["vision_config"].items() if k in vision_names}),
        cross_attention_dim=config["cross_attention_dim"],
        perceiver=PerceiverShape(**perceiver) if perceiver else None,
    )


def build_encoder(checkpoint: PhotoMakerCheckpoint, device: torch.device, dtype: torch.dtype) -> PhotoMakerEncoder:
    """Raises RuntimeError naming every missing or unexpected key."""
    with torch.device("meta"):
        encoder = PhotoMakerEncoder(checkpoint.shape)
    return filled(encoder, checkpoint.encoder, device, dtype)
