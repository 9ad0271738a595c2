"""Which attention kernel a GPU is fastest with: all that are there are timed at start on SDXL's own shapes.

torch has three for plain attention (cuDNN's, FlashAttention 2, memory-efficient); FlashAttention 3 and xformers are
used where they are installed. On Hopper the order differs by version of each, so nothing is assumed.
"""

import importlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.sdxl.attention import Attend, attend, processors

log = logging.getLogger(__name__)

ROUNDS = 10
TOLERANCE = 0.02  # of the largest value: bfloat16 kernels round in different orders


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of attention layer, and how many of it one call has."""

    layers: int
    heads: int
    queries: int
    keys: int
    width: int = 64


# SDXL's at 1024x1024: self-attention at both widths, then what reads the text.
SDXL = (Shape(10, 10, 4096, 4096), Shape(60, 20, 1024, 1024), Shape(10, 10, 4096, 77), Shape(60, 20, 1024, 77))


@dataclass(frozen=True, slots=True)
class Kernel:
    name: str
    attend: Attend


PLAIN = Kernel("torch's choice", attend)


def choose_kernel(device: torch.device, dtype: torch.dtype) -> Kernel:
    """The fastest here. On a CPU there is nothing to choose."""
    if device.type != "cuda":
        return PLAIN
    times = dict(measure(list(candidates()), SDXL, lambda call: _cuda_seconds(call, device), device, dtype))
    for kernel, seconds in times.items():
        log.info("attention with %s: %.3f ms a call of the UNet", kernel.name, seconds * 1000)
    return min(times, key=lambda kernel: times[kernel])


def measure(
    kernels: Sequence[Kernel],
    shapes: Sequence[Shape],
    seconds_of: Callable[[Callable[[], Tensor]], float],
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[tuple[Kernel, float]]:
    """Seconds of all layers of one call. A kernel that fails, or answers otherwise than torch, is left out.

    torch's own choice is measured first and always there.
    """
    inputs = [(shape, _inputs(shape, device, dtype)) for shape in shapes]
    expected = [attend(*tensors, None) for _, tensors in inputs]
    for kernel in (PLAIN, *kernels):
        try:
            answers = [kernel.attend(*tensors, None) for _, tensors in inputs]
            if not all(_same(a, e) for a, e in zip(answers, expected, strict=True)):
                log.warning("attention with %s gives other numbers: not used", kernel.name)
                continue
            yield kernel, sum(shape.layers * seconds_of(_bound(kernel, tensors)) for shape, tensors in inputs)
        except Exception as error:  # a kernel that was not built for this device says so in many ways
            log.info("attention with %s can't run here: %s", kernel.name, type(error).__name__)


def candidates() -> Iterator[Kernel]:
    for name, backend in (
        ("cuDNN", SDPBackend.CUDNN_ATTENTION),
        ("FlashAttention 2", SDPBackend.FLASH_ATTENTION),
        ("memory-efficient", SDPBackend.EFFICIENT_ATTENTION),
    ):
        yield Kernel(name, _preferring(backend))
    for name, module, function in (
        ("FlashAttention 3", "flash_attn_interface", "flash_attn_func"),
        ("xformers", "xformers.ops", "memory_efficient_attention"),
    ):
        try:
            yield Kernel(name, _rows_first(getattr(importlib.import_module(module), function)))
        except (ImportError, OSError, AttributeError):
            continue


def use_kernel(net: nn.Module, kernel: Kernel) -> None:
    for _, processor in processors(net):
        processor.attend = kernel.attend


def _preferring(backend: SDPBackend) -> Attend:
    """With torch's other kernels behind it: not each takes a mask or every width."""
    order = [backend, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        with sdpa_kernel(order, set_priority=True):
            return attend(query, key, value, mask)

    return run


def _rows_first(function: Callable[..., Tensor | tuple[Tensor, ...]]) -> Attend:
    """For kernels that want [B, N, heads, d], and are left alone with masks."""

    def run(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            return attend(query, key, value, mask)
        out = function(*(x.transpose(1, 2) for x in (query, key, value)))
        return (out[0] if isinstance(out, tuple) else out).transpose(1, 2)

    return run


def _inputs(shape: Shape, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator(device).manual_seed(1)

    def draw(rows: int) -> Tensor:
        return torch.randn(1, shape.heads, rows, shape.width, device=device, dtype=dtype, generator=generator)

    return draw(shape.queries), draw(shape.keys), draw(shape.keys)


def _bound(kernel: Kernel, tensors: tuple[Tensor, Tensor, Tensor]) -> Callable[[], Tensor]:
    return lambda: kernel.attend(*tensors, None)


def _same(answer: Tensor, expected: Tensor) -> bool:
    apart = float((answer.float() - expected.float()).abs().max())
    return math.isfinite(apart) and apart <= TOLERANCE * float(expected.abs().max())


def _cuda_seconds(call: Callable[[], Tensor], device: torch.device) -> float:
    """Of the GPU, in a graph: launching eager kernels would hide which is faster."""
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        call()
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(ROUNDS):
            call()
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()
    began.record()
    graph.replay()
    ended.record()
    torch.cuda.synchronize(device)
    return began.elapsed_time(ended) / 1000 / ROUNDS
