"""What a worker has warm."""

from typing import Literal

from msgspec import Struct

from models.wire.filled_sampling import FilledSampling
from models.wire.groups import Framing, Placing, size_text


class FileInfo(Struct, frozen=True, kw_only=True):
    """One loaded weight file and the terms it comes under."""

    id: str
    bytes: int
    sha256: str
    licence: str
    commercial: Literal["yes", "no", "conditional"]
    source: str
    note: str = ""


class AdapterInfo(Struct, frozen=True, kw_only=True):
    """One warm adapter. Bytes are those of parameters on the device: its own, and those that it uses with others."""

    name: str
    takes_pose: bool  # whether it can be told where the face goes
    own_bytes: int
    shared_bytes: int


class LoraInfo(Struct, frozen=True, kw_only=True):
    """A style LoRA that a request may ask for, its scale unless the request names one, and its terms."""

    name: str
    scale: float
    licence: str
    commercial: Literal["yes", "no", "conditional"]


class FinalInfo(Struct, frozen=True, kw_only=True):
    """How a bundle makes finals: their sizes (width, height), which nothing else may have, and the steps that they take
    after the preview's own; whether at their size or at the preview's, to be enlarged when finished."""

    sizes: list[tuple[int, int]]
    steps: int
    refined_in_size: bool


class BundleInfo(Struct, frozen=True, kw_only=True):
    """What a worker has warm, and the limits that a request to it must keep."""

    name: str
    title: str
    adapters: list[AdapterInfo]
    loras: list[LoraInfo] = []
    samplers: list[str]
    sizes: list[tuple[int, int]]  # (width, height)
    max_steps: int
    default_adapter: str
    default_sampler: str
    default_size: tuple[int, int]
    default_steps: int
    default_guidance: float
    default_strength: float
    default_framing: Framing = "front"  # of adapters that take a pose
    accepted_noncommercial: bool = False  # the operator said that the use is not commercial
    files: list[FileInfo]
    revision: str = ""  # changes with any weight file: what an identity is bound to
    finals: FinalInfo | None = None  # None: this bundle makes none

    @property
    def sampling(self) -> FilledSampling:
        """What it does where nothing is said."""
        return FilledSampling(
            size=size_text(self.default_size),
            steps=self.default_steps,
            sampler=self.default_sampler,
            guidance=self.default_guidance,
            strength=self.default_strength,
        )

    @property
    def placing(self) -> Placing:
        """Where it puts a face of which nothing is said."""
        return Placing(framing=self.default_framing)
