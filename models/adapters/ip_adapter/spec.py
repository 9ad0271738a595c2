"""IP-Adapter in a manifest: a checkpoint and the image encoder that it reads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.adapters.spec import CheckpointSpec, Headers, Parameters

if TYPE_CHECKING:
    from models.adapters.loading import LoadedAdapter, Reader
    from models.sdxl.text import TextEncoders

NAME = "ip-adapter"


class IPAdapterSpec(CheckpointSpec, frozen=True, kw_only=True, tag=NAME):
    image_encoder: str  # a folder

    @property
    def parts(self) -> Sequence[str]:
        return [self.path, self.image_encoder]

    def parameters(self, headers: Headers) -> Parameters:
        return Parameters(sum(headers.checkpoint(self.path).values()) + headers.folder(self.image_encoder))

    def load(self, reader: "Reader", text: "TextEncoders") -> "LoadedAdapter":
        from models.adapters.ip_adapter.loading import load_ip_adapter

        return load_ip_adapter(self, reader, text)
