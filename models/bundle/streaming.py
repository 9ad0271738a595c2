"""Tensors of a safetensors file on their device: to a GPU through pinned memory, while the file is still being read."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

WINDOW_BYTES = 512 << 20  # pinned and on their way at once; pinned memory is taken from every other process


def read_tensors(path: Path, device: torch.device) -> dict[str, Tensor]:
    """A plain copy to a GPU waits for every tensor; pinned ones go while the next is read off the mapped file."""
    if device.type != "cuda":
        return load_file(path)
    wait = torch.cuda.current_stream(device).synchronize
    return stream(path, lambda tensor: tensor.pin_memory().to(device, non_blocking=True), wait)


def stream(
    path: Path, send: Callable[[Tensor], Tensor], wait: Callable[[], None], window_bytes: int = WINDOW_BYTES
) -> dict[str, Tensor]:
    """`send` begins a tensor's copy, `wait` returns when all that were begun have ended."""
    tensors: dict[str, Tensor] = {}
    under_way = 0
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - no mapping
            tensor = file.get_tensor(name)
            if under_way and under_way + tensor.nbytes > window_bytes:
                wait()
                under_way = 0
            tensors[name] = send(tensor)
            under_way += tensor.nbytes
    wait()
    return tensors
