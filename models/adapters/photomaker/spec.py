"""PhotoMaker in a manifest: one checkpoint, of the first version or the second."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from models.adapters.prefixes import under
from models.adapters.spec import CheckpointSpec, Headers, Parameters

if TYPE_CHECKING:
    from models.adapters.loading import LoadedAdapter, Reader
    from models.sdxl.text import TextEncoders

NAMES = {"v1": "photomaker", "v2": "photomaker-v2"}  # by version: each is an adapter
ENCODER, LORA = "id_encoder.", "lora_weights."  # the parts of a checkpoint


class PhotoMakerSpec(CheckpointSpec, frozen=True, kw_only=True, tag=NAMES["v1"]):
    """The first version, which needs no face recogniser."""

    @property
    def config(self) -> str:
        """Beside a checkpoint of other than the published sizes."""
        return str(PurePosixPath(self.path).with_name("config.json"))

    @property
    def companions(self) -> Sequence[str]:
        return [self.config]

    def parameters(self, headers: Headers) -> Parameters:
        sizes = headers.checkpoint(self.path)
        return Parameters(sum(under(ENCODER, sizes).values()), owns_unet=bool(under(LORA, sizes)))

    def load(self, reader: "Reader", text: "TextEncoders") -> "LoadedAdapter":
        from models.adapters.photomaker.loading import load_photomaker

        return load_photomaker(self, reader, text, face_space=None)


class PhotoMakerV2Spec(PhotoMakerSpec, frozen=True, kw_only=True, tag=NAMES["v2"]):
    """`face_space` is the recogniser whose embeddings it was trained on."""

    face_space: str

    def load(self, reader: "Reader", text: "TextEncoders") -> "LoadedAdapter":
        from models.adapters.photomaker.loading import load_photomaker

        return load_photomaker(self, reader, text, face_space=self.face_space)
