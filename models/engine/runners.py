"""A network's call, from named tensors to tensors, and how it is run: eagerly, or from a recording (graphs.py)."""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

Inputs = Mapping[str, Tensor]  # the first dimension of each is the rows
Outputs = tuple[Tensor, ...]  # here too
Call = Callable[[Inputs], Outputs]


class Runner(Protocol):
    """Runs one network's calls. The caller owns the outputs."""

    def __call__(self, inputs: Inputs) -> Outputs: ...

    def record(self, inputs: Inputs) -> None:
        """Prepare for more calls of this shape; may take seconds."""
        ...

    def check_recordings(self) -> None:
        """Check, after a change of weights, that calls use the new ones; raises if they would not."""
        ...

    def forget(self) -> None:
        """Erase the values of earlier calls."""
        ...

    @property
    def num_recordings(self) -> int: ...


class MakeRunner(Protocol):
    """Makes a runner for a call and the modules whose weights it reads."""

    def __call__(self, call: Call, modules: Sequence[nn.Module], /) -> Runner: ...


class EagerRunner:
    """Runs every call eagerly."""

    num_recordings = 0

    def __init__(self, call: Call, modules: Sequence[nn.Module]) -> None:
        self._call = call

    def __call__(self, inputs: Inputs) -> Outputs:
        return self._call(inputs)

    def record(self, inputs: Inputs) -> None:
        pass

    def check_recordings(self) -> None:
        pass

    def forget(self) -> None:
        pass


class Calls:
    """Makes a network's calls through its runner, which records new shapes only inside `recording`."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._is_recording = False

    def __call__(self, inputs: Inputs) -> Outputs:
        if self._is_recording:
            self._runner.record(inputs)
        return self._runner(inputs)

    @contextlib.contextmanager
    def recording(self) -> Generator[None]:
        """Record new shapes inside this context: at warm-up, before a caller would have to wait for it."""
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def check_recordings(self) -> None:
        self._runner.check_recordings()

    def forget(self) -> None:
        self._runner.forget()

    @property
    def num_recordings(self) -> int:
        return self._runner.num_recordings
