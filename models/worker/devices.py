"""The device that a worker runs on, the batch sizes that suit it, and the errors that end the process."""

import logging
import os
from pathlib import Path

import torch

from models.weights.errors import WeightsError

log = logging.getLogger(__name__)

CUDA_FAULT_EXIT = 70
GPU_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # kernels are tuned, and later captured, for each


def choose_device(name: str) -> torch.device:
    """The device called `name`; "auto" is the first GPU, else the CPU. Raises WeightsError if there is no such GPU."""
    if name == "auto":
        name = "cuda:0" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise WeightsError(f"device {name!r} was asked for, but torch sees no CUDA device")
    return device


def use_device(device: torch.device) -> None:
    """Set the calling thread's current device. Otherwise streams, events and some libraries' kernels use the first GPU,
    whichever one the tensors are on, and take memory there."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def buckets_for(device: torch.device, max_rows: int) -> tuple[int, ...]:
    """The batch sizes up to `max_rows`: all of them on a CPU, where padding only costs time; on a GPU, GPU_BUCKETS."""
    if device.type == "cpu":
        return tuple(range(1, max_rows + 1))
    return (*(size for size in GPU_BUCKETS if size < max_rows), max_rows)


def device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"


def describe_error(error: BaseException) -> str:
    """The error's type and where it was raised; never its text or locals, which may hold a prompt or a face."""
    places = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return f"{type(error).__name__} at {' > '.join(places[-4:])}"


def exit_on_cuda_fault(error: BaseException) -> None:
    """End the process on a sticky CUDA error, after which every call fails; the front starts another."""
    if "CUDA error" in str(error) and not isinstance(error, torch.OutOfMemoryError):
        log.critical("sticky CUDA error, leaving: %s", describe_error(error))
        os._exit(CUDA_FAULT_EXIT)
