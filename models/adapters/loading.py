"""What an adapter is loaded with, and what comes of it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTokenizer

from models.adapters.adapter import Adapter
from models.adapters.lora import Updates
from models.sdxl.control import ControlNet


class Reader(Protocol):
    """The bundle's verified files, by their paths in the manifest."""

    @property
    def outline(self) -> UNet2DConditionModel:
        """The UNet's names and shapes without storage."""
        ...

    def checkpoint(self, path: str, /) -> dict[str, Tensor]:
        """Flat: parts of a nested file are prefixes."""
        ...

    def config(self, folder: str, /) -> dict[str, Any]: ...

    def state(self, folder: str, /) -> dict[str, Tensor]: ...

    def companion(self, path: str, /) -> dict[str, Any] | None:
        """A JSON file; None if the bundle has none there."""
        ...

    def tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        """Copies, which may be taught a word."""
        ...

    def control_net(self, folder: str, /) -> ControlNet:
        """Ready to run, as fast as the UNet."""
        ...

    def about(self, path: str, /) -> AbstractContextManager[None]:
        """Errors inside name this file, rather than all of the adapter's."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """An adapter, the LoRA that it wants fused into its UNet, if any, and the nets that its rows' controls name."""

    adapter: Adapter
    lora: Updates = field(default_factory=dict[str, Any])
    nets: Mapping[str, ControlNet] = field(default_factory=dict[str, ControlNet])
