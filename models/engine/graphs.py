"""Recorded network calls: made once for each shape, then played again with new numbers in the same memory.

An eager SDXL step issues about 1,750 kernels, and at batch 1 a GPU waits for them to be issued. A CUDA graph issues
them all at once, but it reads and writes fixed addresses: the buffers here belong to one recording and nobody else
ever sees them. What was not recorded runs as it is, and so does everything once the pool is switched off, to bisect.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from models.sdxl.call import Call, Inputs, Outputs

Signature = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]

WARM_UPS = 3  # calls before a capture, in which libraries choose their algorithms and allocate their workspaces


class Moved(RuntimeError):
    """Memory that a recording reads or writes is elsewhere now, so that playing it would compute with stale numbers."""


class Recording(Protocol):
    """What a recorder made of one call. `outputs` are overwritten by every `replay`."""

    outputs: Outputs

    def replay(self) -> None: ...


class Recorder(Protocol):
    """How a device records."""

    def record(self, call: Callable[[], Outputs]) -> Recording:
        """`call` takes no arguments because what it reads must stay where it is. It may run several times."""
        ...


@dataclass(frozen=True, slots=True)
class CudaRecording:
    graph: torch.cuda.CUDAGraph
    outputs: Outputs

    def replay(self) -> None:
        self.graph.replay()


class CudaRecorder:
    """Graphs of one device. They share a memory pool, because only one of them plays at a time."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def record(self, call: Callable[[], Outputs]) -> CudaRecording:
        present = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                call()
        present.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            outputs = call()
        return CudaRecording(graph, outputs)


class _Held:
    """One recording with the buffers that it reads."""

    def __init__(self, call: Call, inputs: Inputs, recorder: Recorder) -> None:
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        self._recording = recorder.record(lambda: call(self._inputs))
        self._places = self._addresses()

    def play(self, inputs: Inputs) -> Outputs:
        for name, buffer in self._inputs.items():
            buffer.copy_(inputs[name], non_blocking=True)
        self._recording.replay()
        return tuple(output.clone() for output in self._recording.outputs)

    @property
    def is_in_place(self) -> bool:
        return self._addresses() == self._places

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self._inputs.values(), *self._recording.outputs))

    def _addresses(self) -> list[int]:
        return [tensor.data_ptr() for tensor in (*self._inputs.values(), *self._recording.outputs)]


class GraphPool:
    """A player of calls that were recorded for inputs of the same shape. Belongs to one thread."""

    def __init__(self, call: Call, modules: Sequence[nn.Module], *, recorder: Recorder) -> None:
        """`modules` own every weight that `call` reads."""
        self._call = call
        self._modules = modules
        self._recorder = recorder
        self._held: dict[Signature, _Held] = {}
        self._weights: list[int] = []
        self.is_on = True

    def record(self, inputs: Inputs) -> None:
        """For inputs of this shape, if there is no recording yet."""
        if signature(inputs) in self._held:
            return
        self.check()
        self._held[signature(inputs)] = _Held(self._call, inputs, self._recorder)
        self._weights = self._addresses()

    def __call__(self, inputs: Inputs) -> Outputs:
        held = self._held.get(signature(inputs)) if self.is_on else None
        return self._call(inputs) if held is None else held.play(inputs)

    def check(self) -> None:
        """Raises Moved. To be called after anything that touches weights: it compares some thousand addresses."""
        if self._held and self._addresses() != self._weights:
            raise Moved("a weight was replaced instead of overwritten after its network had been recorded")
        if not all(held.is_in_place for held in self._held.values()):
            raise Moved("a buffer of a recording was replaced")

    @property
    def num_recordings(self) -> int:
        return len(self._held)

    @property
    def num_bytes(self) -> int:
        """Of the buffers; what lies between them is in the recorder's pool."""
        return sum(held.num_bytes for held in self._held.values())

    def _addresses(self) -> list[int]:
        return [tensor.data_ptr() for module in self._modules for tensor in (*module.parameters(), *module.buffers())]


def signature(inputs: Inputs) -> Signature:
    """What two calls must have in common to be the same recording."""
    return tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in sorted(inputs.items()))
