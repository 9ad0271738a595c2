"""A network's call as named tensors in and tensors out, and who makes it: at once, or from a recording of it."""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

Inputs = Mapping[str, Tensor]  # the first dimension of each is the rows
Outputs = tuple[Tensor, ...]  # of these too
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

    def forget(self) -> None:
        """Leave nothing of earlier calls' numbers."""
        ...

    @property
    def num_recordings(self) -> int: ...


class MakePlayer(Protocol):
    """Gives a player for a call, and for the modules whose weights it reads."""

    def __call__(self, call: Call, modules: Sequence[nn.Module], /) -> Player: ...


class Plain:
    """Every call as it is."""

    num_recordings = 0

    def __init__(self, call: Call, modules: Sequence[nn.Module]) -> None:
        self._call = call

    def __call__(self, inputs: Inputs) -> Outputs:
        return self._call(inputs)

    def record(self, inputs: Inputs) -> None:
        pass

    def check(self) -> None:
        pass

    def forget(self) -> None:
        pass


class Calls:
    """A network's calls through its player, which is asked to record new shapes inside `recording` and never else."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._is_recording = False

    def __call__(self, inputs: Inputs) -> Outputs:
        if self._is_recording:
            self._player.record(inputs)
        return self._player(inputs)

    @contextlib.contextmanager
    def recording(self) -> Generator[None]:
        """The time before the first caller, who would have to wait for a recording."""
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def check(self) -> None:
        self._player.check()

    def forget(self) -> None:
        self._player.forget()

    @property
    def num_recordings(self) -> int:
        return self._player.num_recordings
