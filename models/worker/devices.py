"""Which device a worker runs on, the batch sizes that suit it, and the errors that it doesn't survive."""

import logging
import os
from pathlib import Path

import torch

from models.weights.errors import WeightsError

log = logging.getLogger(__name__)

CUDA_FAULT_EXIT = 70
GPU_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # kernels are tuned, and later captured, for each


def choose_device(name: str) -> torch.device:
    """ "auto" is the first GPU, else the CPU."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise WeightsError(f"device {name!r} was asked for, but torch sees no CUDA device")
    return device


def enter(device: torch.device) -> None:
    """Make it the calling thread's own. Else streams, events and some libraries' kernels go to the first GPU, whichever
    one the tensors are on, and take memory there."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def buckets_for(device: torch.device, max_rows: int) -> tuple[int, ...]:
    """On a CPU every size is a bucket: padding would be computed in vain. A GPU has a ladder of captured sizes."""
    if device.type == "cpu":
        return tuple(range(1, max_rows + 1))
    return (*(size for size in GPU_BUCKETS if size < max_rows), max_rows)


def device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def trace_of(error: BaseException) -> str:
    """Where it happened and what kind it was; never its text or locals, which may hold a prompt or a face."""
    places = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return f"{type(error).__name__} at {' > '.join(places[-4:])}"


def exit_on_cuda_fault(error: BaseException) -> None:
    """After a sticky CUDA error every further call fails: end the process, the front starts another."""
    if "CUDA error" in str(error) and not isinstance(error, torch.OutOfMemoryError):
        log.critical("sticky CUDA error, leaving: %s", trace_of(error))
        os._exit(CUDA_FAULT_EXIT)
