"""CLIP towers made of loaded tensors, without drawing random weights first: PhotoMaker's took longer than its file."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def filled(module: M, state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> M:
    """Give a module that was built on the meta device its weights, ready to run.

    Raises RuntimeError naming every missing or unexpected key.
    """
    stored = {key: tensor for key, tensor in state.items() if not key.endswith("position_ids")}  # computed since
    module.load_state_dict({key: tensor.to(device, dtype) for key, tensor in stored.items()}, assign=True)
    number_positions(module, device)
    return module.eval().requires_grad_(False)


def number_positions(module: nn.Module, device: torch.device) -> None:
    """CLIP's position ids are a buffer that no file holds since transformers 4.31."""
    for part in module.modules():
        ids = part._buffers.get("position_ids")
        if ids is not None and ids.is_meta:
            part._buffers["position_ids"] = torch.arange(ids.shape[-1], device=device).expand(1, -1)
