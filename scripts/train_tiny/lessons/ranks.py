"""Several processes that train one model: they begin with the same weights, each draws its own batches, and gradients
are averaged after every step.

On a CPU two processes of one thread each make nearly twice the steps of one; two threads of one process a quarter
more. Every process runs the same command with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT set, as `torchrun` sets
them; without these variables there is one process and nothing here does anything.
"""

import os
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed


def place() -> tuple[int, int]:
    """This process's rank and the number of ranks; 0 and 1 when it is alone."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def join() -> int:
    """This process's rank. Call before any of the functions below."""
    if "RANK" not in os.environ:
        return 0
    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return distributed.get_rank()


@torch.no_grad()
def begin_alike(tensors: Iterable[Tensor]) -> None:
    """Replace what each process has by what the first one has.

    Weights are drawn from a process's own random numbers. Averaged gradients move all models by the same steps, so two
    that begin apart stay apart, and each hears half of what is meant for the other.
    """
    if not distributed.is_initialized():
        return
    for tensor in tensors:
        first = tensor.contiguous()
        distributed.broadcast(first, 0)
        tensor.copy_(first)


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace every gradient by its mean over the processes; one transfer, in bfloat16.

    Written into the gradients that are there: their memory layout must stay their parameter's, because the fused
    optimizer walks both in storage order (a contiguous gradient for a channels-last weight trains it into noise).
    """
    if not distributed.is_initialized():
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients]).bfloat16()
    distributed.all_reduce(flat)
    means = (flat.float() / distributed.get_world_size()).split([g.numel() for g in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def agree(seconds: float) -> float:
    """The first process's clock, so that all stop after the same step."""
    if not distributed.is_initialized():
        return seconds
    shared = torch.tensor([seconds], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared)
