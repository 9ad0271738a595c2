"""A network's call as named tensors in and tensors out, and who makes it: at once, or from a recording of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

Inputs = Mapping[str, Tensor]
Outputs = tuple[Tensor, ...]
Call = Callable[[Inputs], Outputs]


class Player(Protocol):
    """Makes one network's calls. Outputs are the caller's to keep."""

    def __call__(self, inputs: Inputs) -> Outputs: ...

    def record(self, inputs: Inputs) -> None:
        """Prepare for more calls of this shape; may take seconds."""
        ...

    def check(self) -> None:
        """After something touched weights: raises if a call would not see it."""
        ...


class MakePlayer(Protocol):
    """Gives a player for a call, and for the modules whose weights it reads."""

    def __call__(self, call: Call, modules: Sequence[nn.Module], /) -> Player: ...


class Plain:
    """Every call as it is."""

    def __init__(self, call: Call, modules: Sequence[nn.Module]) -> None:
        self._call = call

    def __call__(self, inputs: Inputs) -> Outputs:
        return self._call(inputs)

    def record(self, inputs: Inputs) -> None:
        pass

    def check(self) -> None:
        pass
