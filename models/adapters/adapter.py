"""What every adapter is: identity from faces, then conditioning for rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.faces.face import Face
from models.messages import Picture
from models.sdxl.conditioning import RowConditioning


@dataclass(frozen=True, slots=True)
class Identity:
    """What the adapter needs of one person. Lives as long as its job; never logged, never written."""

    tokens: Tensor  # [M, D]: k tokens a picture, picture-major

    def __repr__(self) -> str:
        return f"Identity({len(self.tokens)} tokens)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The part of a request that steers the picture. `strength` is 0 (no identity) to 1 (from the first step on)."""

    prompt: str
    negative_prompt: str | None
    subject: str
    width: int
    height: int
    num_steps: int
    strength: float
    guided: bool


class Adapter(Protocol):
    """Stateless between calls; safe to call from the preparation thread while the engine runs."""

    name: str
    face_space: str | None  # which recogniser's embeddings it was trained on; None needs no embedding

    def identity(self, selfies: Sequence[Picture], faces: Sequence[Face]) -> Identity:
        """One face per selfie, all of one person."""
        ...

    def check(self, wish: Wish, num_selfies: int) -> None:
        """Raise ValueError with a `code` if the prompt can't be used; called before any model runs."""
        ...

    def condition(self, identity: Identity, wish: Wish) -> RowConditioning: ...
