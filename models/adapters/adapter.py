"""What every adapter is: identity from faces, then conditioning for rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from models.faces.face import Face
from models.sdxl.conditioning import RowConditioning
from models.sdxl.lora_choice import LoraChoice
from models.wire.filled_sampling import FilledSampling
from models.wire.groups import Placing
from models.wire.order import MAX_SELFIES, Words
from models.wire.picture import Picture

Size = tuple[int, int]  # width, height


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pose:
    """Where a face stands in a picture, and how. Biometric: never logged, never written."""

    landmarks: np.ndarray  # [5, 2], see Face
    box: tuple[float, float, float, float]
    size: Size  # of the picture

    @classmethod
    def of(cls, picture: Picture, face: Face) -> Self:
        return cls(face.landmarks, face.box, (picture.width, picture.height))


@dataclass(frozen=True, slots=True)
class Identity:
    """What the adapter needs of one person. Lives as long as its job; never logged, never written."""

    tokens: Tensor  # [M, D], as the adapter's TokenShape says; picture-major
    pose: Pose | None = None  # as in the first selfie, for adapters with `takes_pose`

    def __repr__(self) -> str:
        return f"Identity({len(self.tokens)} tokens)"


@dataclass(frozen=True, slots=True)
class TokenShape:
    """What `Identity.tokens` of one adapter look like, and where it wants them."""

    rows_a_selfie: int
    width: int
    dtype: torch.dtype
    device: torch.device
    one_for_all: bool = False  # as many rows for several selfies as for one

    @property
    def max_rows(self) -> int:
        return self.rows_a_selfie * (1 if self.one_for_all else MAX_SELFIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What one picture is to show, and how it is computed. Placing and pose are for adapters with `takes_pose`."""

    words: Words
    sampling: FilledSampling
    placing: Placing = field(default_factory=Placing)
    pose: Pose | None = None  # of the photo that was sent for it

    @property
    def lora(self) -> LoraChoice | None:
        name, scale = self.sampling.lora, self.sampling.lora_scale
        return None if name is None or scale is None else LoraChoice(name, scale)


class Adapter(Protocol):
    """Stateless between calls; safe to call from the preparation thread while the engine runs."""

    name: str
    face_space: str | None  # which recogniser's embeddings it was trained on; None needs no embedding
    takes_pose: bool  # whether it can be told where the face goes
    spoiled_sizes: frozenset[Size]  # sizes at which its pictures have faults; no default, but served when asked for

    @property
    def tokens(self) -> TokenShape: ...

    def modules(self) -> list[nn.Module]:
        """Its own weights, for reports of memory; what it shares with others is not among them."""
        ...

    def identity(self, selfies: Sequence[Picture], faces: Sequence[Face]) -> Identity:
        """One face per selfie, all of one person."""
        ...

    def check_scene(self, scene: Scene, num_selfies: int) -> None:
        """Raise ValueError with a `code` if the prompt can't be used; called before any model runs."""
        ...

    def condition(self, identity: Identity, scene: Scene) -> RowConditioning: ...
