"""Recorded network calls: made once for each shape, then played again with new numbers in the same memory.

An eager SDXL step issues about 1,750 kernels, and at batch 1 a GPU waits for them to be issued. A CUDA graph issues
them all at once, but it reads and writes fixed addresses: the buffers here belong to the recordings and nobody else
ever sees them. A call of fewer rows is filled up to the next recording that has more. What was not
recorded runs as it is, and so does everything once the pool is switched off, to bisect.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from models.engine.players import Call, Inputs, Outputs

Kind = tuple[tuple[str, tuple[int, ...], torch.dtype], ...]  # all of a call's shape but how many rows it has

WARM_UPS = 3  # calls before a capture, in which libraries choose their algorithms and allocate their workspaces


class Moved(RuntimeError):
    """Memory that a recording reads or writes is elsewhere now, so that playing it would compute with stale numbers."""


class Recording(Protocol):
    """What a recorder made of one call."""

    def replay(self) -> None: ...


class Recorder(Protocol):
    """How a device records."""

    def record(self, call: Callable[[], None]) -> Recording:
        """`call` takes and gives nothing because what it reads and writes must stay where it is. It runs several
        times."""
        ...


class CudaRecorder:
    """Graphs of one device. They share a memory pool, so only one of them may play at a time."""

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

    Because one recording plays at a time, a short one has the first rows of a longer one's buffers: learn the longest
    first. A longer one that comes later gets new ones, and the short ones keep theirs.
    """

    def __init__(self) -> None:
        self._whole: dict[tuple[str, tuple[int, ...], torch.dtype], Tensor] = {}
        self._outgrown: list[Tensor] = []

    def lend(self, name: str, like: Tensor) -> Tensor:
        """Memory for one tensor, of its shape and layout."""
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
    """One recording with the buffers that it reads and writes, and where they lay when it was made."""

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

    def play(self, inputs: Inputs) -> Outputs:
        rows = num_rows(inputs)
        for name, buffer in self.inputs.items():
            buffer[:rows].copy_(inputs[name], non_blocking=True)
            buffer[rows:].copy_(inputs[name][-1:], non_blocking=True)  # sane numbers, of no consequence
        self.recording.replay()
        return tuple(output[:rows].clone() for output in self.outputs)

    @property
    def is_in_place(self) -> bool:
        return _addresses(*self.inputs.values(), *self.outputs) == self.places


class GraphPool:
    """A player of calls that were recorded for inputs of the same shape, or of more rows. Belongs to one thread."""

    def __init__(self, call: Call, modules: Sequence[nn.Module], *, recorder: Recorder) -> None:
        """`modules` own every weight that `call` reads."""
        self._call = call
        self._modules = modules
        self.recorder = recorder
        self._buffers = Buffers()
        self._by_rows: dict[Kind, dict[int, RecordedCall]] = {}
        self._weights: list[int] = []
        self.is_on = True

    def record(self, inputs: Inputs) -> None:
        """For inputs of this shape, if there is no recording yet."""
        by_rows = self._by_rows.setdefault(kind(inputs), {})
        if num_rows(inputs) in by_rows:
            return
        self.check()
        by_rows[num_rows(inputs)] = RecordedCall.made(self._call, inputs, self._buffers, self.recorder)
        self._weights = self._present_weights()

    def __call__(self, inputs: Inputs) -> Outputs:
        recorded = self._smallest_for(inputs) if self.is_on else None
        return self._call(inputs) if recorded is None else recorded.play(inputs)

    def check(self) -> None:
        """Raises Moved. To be called after anything that touches weights: it compares some thousand addresses."""
        if self._weights and self._present_weights() != self._weights:
            raise Moved("a weight was replaced instead of overwritten after its network had been recorded")
        if not all(recorded.is_in_place for recorded in self.recorded):
            raise Moved("a buffer of a recording was replaced")

    def forget(self) -> None:
        """A person's prompt and face lie in the buffers until another call overwrites them, or this is called."""
        self._buffers.clear()

    @property
    def recorded(self) -> Iterator[RecordedCall]:
        return (recorded for by_rows in self._by_rows.values() for recorded in by_rows.values())

    @property
    def num_recordings(self) -> int:
        return sum(1 for _ in self.recorded)

    @property
    def num_bytes(self) -> int:
        """Of the buffers; what lies between them is in the recorder's pool."""
        return self._buffers.num_bytes

    def _smallest_for(self, inputs: Inputs) -> RecordedCall | None:
        """The recording of this kind with the fewest rows that are enough."""
        by_rows = self._by_rows.get(kind(inputs), {})
        counts = sorted(by_rows)
        at = bisect_left(counts, num_rows(inputs))
        return by_rows[counts[at]] if at < len(counts) else None

    def _present_weights(self) -> list[int]:
        return _addresses(*(t for module in self._modules for t in (*module.parameters(), *module.buffers())))


def num_rows(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


def kind(inputs: Inputs) -> Kind:
    """What two calls must have in common for one to be played by a recording of the other."""
    return tuple((name, tuple(tensor.shape[1:]), tensor.dtype) for name, tensor in sorted(inputs.items()))


def _layout(tensor: Tensor) -> torch.memory_format:
    is_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


def _addresses(*tensors: Tensor) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]
