"""Low-rank updates, read from their published key formats and fused into plain weights at load.

Known formats (`lora_names`): diffusers attention processors (PhotoMaker), diffusers/PEFT, and kohya with either
diffusers' or Stability's block names, text encoders included; `lora_file` reads them. Convolutions are LoCon: a
full-size kernel down, 1x1 up.
Fusing is W + s*(alpha/rank)*up@down in float32 (arXiv 2106.09685), no alpha meaning alpha = rank; afterwards nothing
of the LoRA is left but the weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.adapters.lora_names import ModuleNames

UNSUPPORTED = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "LoCon with a core tensor",
}


class LoraError(ValueError):
    """A LoRA file that doesn't fit the model; says which key and why."""


@dataclass(frozen=True, slots=True)
class LowRank:
    """One module's update. down: [r, in, ...], up: [out, r, ...]; alpha None means alpha = r."""

    down: Tensor
    up: Tensor
    alpha: float | None

    def delta(self) -> Tensor:
        """[out, in] or, for a convolution, [out, in, kh, kw]; float32."""
        rank = self.down.shape[0]
        scale = 1.0 if self.alpha is None else self.alpha / rank
        product = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return scale * product.reshape(self.up.shape[0], *self.down.shape[1:])

    def to(self, device: torch.device) -> "LowRank":
        return LowRank(self.down.to(device), self.up.to(device), self.alpha)


Updates = dict[str, LowRank]  # by module path, component first: `unet.mid_block...`


def read_lora(state: Mapping[str, Tensor], names: ModuleNames) -> Updates:
    """Raises LoraError for a key in no known format, an unknown module, a missing or a repeated half."""
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, part = _locate(key, names)
        if part in parts.setdefault(path, {}):
            raise LoraError(f"{path}: the file holds its {part} twice, under two names")
        parts[path][part] = tensor
    return {path: _pair(path, halves) for path, halves in parts.items()}


def check_lora(models: Mapping[str, nn.Module], updates: Updates) -> None:
    """Raises LoraError naming the first module whose weight has another shape than its update."""
    for path, update in updates.items():
        weight = weight_of(models, path)
        (out, rank), (same_rank, *inputs) = update.up.shape[:2], update.down.shape
        product = torch.Size((out, *inputs))
        if rank != same_rank or out != weight.shape[0] or product.numel() != weight.numel():
            ranks = f"rank {rank}" if rank == same_rank else f"ranks {same_rank} and {rank}"
            raise LoraError(f"{path}: the LoRA is {list(product)} ({ranks}), the weight {list(weight.shape)}")


def fuse_loras(models: Mapping[str, nn.Module], loras: Sequence[tuple[Updates, float]]) -> None:
    """Give every named module a weight with all its updates added, each times its scale, rounded once to its dtype.

    The old weights are left as they are: they may be shared with the state dict that they came from. Raises LoraError.
    """
    for updates, _ in loras:
        check_lora(models, updates)
    for path in dict.fromkeys(path for updates, _ in loras for path in updates):
        module = module_of(models, path)
        scaled = [(updates[path], scale) for updates, scale in loras if path in updates]
        module.weight = nn.Parameter(updated(weight_of(models, path), scaled), requires_grad=False)


def part_of(updates: Updates, components: Iterable[str]) -> Updates:
    """What a LoRA changes in these components alone."""
    wanted = tuple(f"{component}." for component in components)
    return {path: update for path, update in updates.items() if path.startswith(wanted)}


def updated(weight: Tensor, scaled: Sequence[tuple[LowRank, float]]) -> Tensor:
    """A new tensor of the weight's dtype, device and memory layout."""
    total = weight.detach().float()
    for update, scale in scaled:
        total = total + scale * update.delta().to(weight.device).view_as(weight)
    return total.to(weight.dtype)


def module_of(models: Mapping[str, nn.Module], path: str) -> nn.Module:
    component, _, inner = path.partition(".")
    return models[component].get_submodule(inner)


def weight_of(models: Mapping[str, nn.Module], path: str) -> Tensor:
    weight = module_of(models, path).weight
    if not isinstance(weight, Tensor):
        raise LoraError(f"{path} has no weight that a LoRA could change")
    return weight


def _locate(key: str, names: ModuleNames) -> tuple[str, str]:
    """Which module and which part of its update a key names."""
    for mark, kind in UNSUPPORTED.items():
        if mark in key:
            raise LoraError(f"key {key!r} is of a {kind}; only plain LoRA and LoCon files are read here")
    try:
        found = names.find(key)
    except KeyError:
        raise LoraError(f"key {key!r} is in no format that is known here (diffusers, PEFT, kohya)") from None
    if found is None:
        raise LoraError(f"key {key!r} names a module that this model does not have")
    return found


def _pair(path: str, halves: Mapping[str, Tensor]) -> LowRank:
    if "down" not in halves or "up" not in halves:
        raise LoraError(f"{path}: the LoRA has {' and '.join(sorted(halves))} alone; down and up are needed")
    alpha = float(halves["alpha"]) if "alpha" in halves else None
    return LowRank(halves["down"], halves["up"], alpha)
