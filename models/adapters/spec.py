"""What a manifest says of an adapter, and what that tells before anything is loaded.

The front's commands read this too: neither this file nor any `spec.py` below imports torch, except to load.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from models.adapters.loading import LoadedAdapter, Reader
    from models.sdxl.text import TextEncoders


class Headers(Protocol):
    """How many numbers are in the bundle's files, read off their headers alone."""

    def checkpoint(self, path: str, /) -> Mapping[str, int]:
        """By key; parts of a nested file are prefixes."""
        ...

    def folder(self, path: str, /) -> int:
        """In all of a component's weights."""
        ...


@dataclass(frozen=True, slots=True)
class Parameters:
    """How many an adapter brings. With a LoRA of its own, it takes a UNet for itself into which that is fused."""

    count: int
    owns_unet: bool = False


class AdapterSpec(Protocol):
    """One adapter of a bundle. Paths are relative to the weights folder."""

    @property
    def name(self) -> str: ...

    @property
    def parts(self) -> Sequence[str]:
        """The files and folders that it needs."""
        ...

    @property
    def companions(self) -> Sequence[str]:
        """Files that it reads where the manifest lists them."""
        ...

    def parameters(self, headers: Headers, /) -> Parameters: ...

    def load(self, reader: "Reader", text: "TextEncoders", /) -> "LoadedAdapter":
        """On the device of the text encoders, which it shares, and in their precision.

        Raises ValueError, KeyError or RuntimeError that names what is wrong with the files.
        """
        ...


class CheckpointSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every adapter has: a checkpoint file, and a name, which is the `type` in the manifest."""

    path: str

    @property
    def name(self) -> str:
        return str(self.__struct_config__.tag)

    @property
    def parts(self) -> Sequence[str]:
        return [self.path]

    @property
    def companions(self) -> Sequence[str]:
        return []
