"""CUDA graphs of network calls: recorded once for each shape, then replayed with new values in the same memory.

An eager SDXL step launches about 1,750 kernels, and at batch 1 a GPU waits for the launches. A CUDA graph launches them
all at once, but it reads and writes fixed addresses: the buffers here belong to the recordings and are never handed
out. A call of fewer rows is padded up to the next larger recording. Calls that were not recorded run eagerly, and so
does everything while the pool is switched off, to bisect.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from models.engine.runners import Call, Inputs, Outputs

Kind = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]  # all of a call's shape but the number of rows

WARM_UPS = 3  # calls before a capture, in which libraries choose their algorithms and allocate their workspaces


class StaleRecording(RuntimeError):
    """Memory that a recording reads or writes has moved, so that a replay would compute with stale values."""


class Recording(Protocol):
    """One recorded call."""

    def replay(self) -> None: ...


class Recorder(Protocol):
    """Records calls on a device."""

    def record(self, call: Callable[[], None]) -> Recording:
        """Record `call`, which runs several times. It takes and returns nothing: its inputs and outputs have fixed
        addresses."""
        ...


class CudaRecorder:
    """Captures CUDA graphs on one device. They share a memory pool, so only one may run at a time."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def record(self, call: Callable[[], None]) -> torch.cuda.CUDAGraph:
        present = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(present)
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                call()
        present.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            call()
        return graph


class Buffers:
    """The memory that recordings of one pool read and write: one buffer for each name and shape of a row.

    As only one recording runs at a time, one of few rows uses the first rows of a larger one's buffers: record the
    largest first. A larger one that comes later gets new buffers, and the smaller ones keep theirs.
    """

    def __init__(self) -> None:
        self._whole: dict[tuple[str, tuple[int, ...], torch.dtype], Tensor] = {}
        self._outgrown: list[Tensor] = []

    def lend(self, name: str, like: Tensor) -> Tensor:
        """A buffer of the shape and layout of `like`."""
        place = (name, tuple(like.shape[1:]), like.dtype)
        if place not in self._whole or len(self._whole[place]) < len(like):
            self._outgrown += [self._whole[place]] if place in self._whole else []
            self._whole[place] = torch.empty_like(like, memory_format=_layout(like))
        return self._whole[place][: len(like)]

    @torch.inference_mode()
    def clear(self) -> None:
        for buffer in (*self._whole.values(), *self._outgrown):
            buffer.zero_()

    @property
    def num_bytes(self) -> int:
        return sum(buffer.nbytes for buffer in (*self._whole.values(), *self._outgrown))


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One recording, the buffers that it reads and writes, and their addresses when it was made."""

    inputs: dict[str, Tensor]
    outputs: Outputs
    recording: Recording
    places: list[int]

    @classmethod
    def made(cls, call: Call, inputs: Inputs, buffers: Buffers, recorder: Recorder) -> "RecordedCall":
        lent = {name: buffers.lend(name, tensor) for name, tensor in inputs.items()}
        for name, buffer in lent.items():
            buffer.copy_(inputs[name])
        outputs = tuple(buffers.lend(f"output.{i}", tensor) for i, tensor in enumerate(call(lent)))

        def run() -> None:
            for buffer, fresh in zip(outputs, call(lent), strict=True):
                buffer.copy_(fresh)

        recording = recorder.record(run)
        return cls(lent, outputs, recording, _addresses(*lent.values(), *outputs))

    def replay(self, inputs: Inputs) -> Outputs:
        rows = num_rows(inputs)
        for name, buffer in self.inputs.items():
            buffer[:rows].copy_(inputs[name], non_blocking=True)
            buffer[rows:].copy_(inputs[name][-1:], non_blocking=True)  # padding; its results are dropped
        self.recording.replay()
        return tuple(output[:rows].clone() for output in self.outputs)

    @property
    def is_in_place(self) -> bool:
        return _addresses(*self.inputs.values(), *self.outputs) == self.places


class GraphPool:
    """Runs calls by replaying a recording of the same shape with as many rows or more. Belongs to one thread."""

    def __init__(self, call: Call, modules: Sequence[nn.Module], *, recorder: Recorder) -> None:
        """`modules` must own every weight that `call` reads."""
        self._call = call
        self._modules = modules
        self.recorder = recorder
        self._buffers = Buffers()
        self._by_rows: dict[Kind, dict[int, RecordedCall]] = {}
        self._weights: list[int] = []
        self.is_on = True

    def record(self, inputs: Inputs) -> None:
        """Record the call for inputs of this shape, if it has not been recorded yet."""
        by_rows = self._by_rows.setdefault(kind(inputs), {})
        if num_rows(inputs) in by_rows:
            return
        self.check_recordings()
        by_rows[num_rows(inputs)] = RecordedCall.made(self._call, inputs, self._buffers, self.recorder)
        self._weights = self._present_weights()

    def __call__(self, inputs: Inputs) -> Outputs:
        recorded = self._smallest_for(inputs) if self.is_on else None
        return self._call(inputs) if recorded is None else recorded.replay(inputs)

    def check_recordings(self) -> None:
        """Raises StaleRecording if memory has moved. Call it after changing weights: it compares every address."""
        if self._weights and self._present_weights() != self._weights:
            raise StaleRecording("a weight was replaced instead of overwritten after its network had been recorded")
        if not all(recorded.is_in_place for recorded in self.recorded):
            raise StaleRecording("a buffer of a recording was replaced")

    def forget(self) -> None:
        """Zero the buffers, which otherwise keep a person's prompt and face until the next call overwrites them."""
        self._buffers.clear()

    @property
    def recorded(self) -> Iterator[RecordedCall]:
        return (recorded for by_rows in self._by_rows.values() for recorded in by_rows.values())

    @property
    def num_recordings(self) -> int:
        return sum(1 for _ in self.recorded)

    @property
    def num_bytes(self) -> int:
        """The buffers' size; intermediate tensors are in the recorder's pool."""
        return self._buffers.num_bytes

    def _smallest_for(self, inputs: Inputs) -> RecordedCall | None:
        """The smallest recording of this kind that has enough rows."""
        by_rows = self._by_rows.get(kind(inputs), {})
        counts = sorted(by_rows)
        at = bisect_left(counts, num_rows(inputs))
        return by_rows[counts[at]] if at < len(counts) else None

    def _present_weights(self) -> list[int]:
        return _addresses(*(t for module in self._modules for t in (*module.parameters(), *module.buffers())))


def num_rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


def kind(inputs: Inputs) -> Kind:
    """What two calls must have in common to share a recording: names, dtypes, and shapes but for the rows."""
    return tuple((name, tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in sorted(inputs.items()))


def _layout(tensor: Tensor) -> torch.memory_format:
    is_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]
