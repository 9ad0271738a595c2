"""InstantID in a manifest: a checkpoint and IdentityNet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.adapters.spec import CheckpointSpec, Headers, Parameters

if TYPE_CHECKING:
    from models.adapters.loading import LoadedAdapter, Reader
    from models.sdxl.text import TextEncoders

NAME = "instantid"


class InstantIDSpec(CheckpointSpec, frozen=True, kw_only=True, tag=NAME):
    """`face_space` is the recogniser whose embeddings it was trained on."""

    identity_net: str  # its ControlNet, a folder
    face_space: str

    @property
    def parts(self) -> Sequence[str]:
        return [self.path, self.identity_net]

    def parameters(self, headers: Headers) -> Parameters:
        return Parameters(sum(headers.checkpoint(self.path).values()) + headers.folder(self.identity_net))

    def load(self, reader: "Reader", text: "TextEncoders") -> "LoadedAdapter":
        from models.adapters.instantid.loading import load_instantid

        return load_instantid(self, reader, text)
