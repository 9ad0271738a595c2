"""Low-rank updates, read from their published key formats and fused into plain weights at load.

Three formats: diffusers attention processors (PhotoMaker: `unet.<path>.attn1.processor.to_q_lora.down.weight`, no
alpha, so scale 1), diffusers/PEFT (`unet.<path>.lora_A.weight`), and kohya with diffusers block names
(SDXL-Lightning: `lora_unet_<path_with_underscores>.lora_down.weight` and `.alpha`). Fusing is
W + s*(alpha/rank)*up@down in float32; afterwards nothing of the LoRA is left but the weights (arXiv 2106.09685).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn


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


_PROCESSOR = re.compile(r"^(?P<path>.+)\.processor\.to_(?P<which>q|k|v|out)_lora\.(?P<part>down|up)\.weight$")
_DIFFUSERS = re.compile(r"^(?P<path>.+)\.(?P<part>lora_A|lora_B|lora\.down|lora\.up)\.weight$")
_KOHYA = re.compile(r"^lora_unet_(?P<path>\w+)\.(?P<part>lora_down\.weight|lora_up\.weight|alpha)$")
_PARTS = {"lora_A": "down", "lora_B": "up", "lora.down": "down", "lora.up": "up"}


def read_lora(state: Mapping[str, Tensor], modules: Iterable[str]) -> dict[str, LowRank]:
    """Module path in the UNet -> its update. `modules` are the UNet's module names (`dict(unet.named_modules())`).

    Raises LoraError for a key in no known format, an unknown module or a missing half.
    """
    underscored = {name.replace(".", "_"): name for name in modules}
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        path, part = _locate(key, underscored)
        parts.setdefault(path, {})[part] = tensor
    return {path: _pair(path, halves) for path, halves in parts.items()}


def fuse_lora(model: nn.Module, updates: Mapping[str, LowRank], scale: float = 1.0) -> None:
    """Give every named module a weight with its update added, in the old dtype. Raises LoraError on a shape mismatch.

    The old weights are left as they are: they may be shared with the state dict that they came from.
    """
    modules = dict(model.named_modules())
    for path, update in updates.items():
        weight = modules[path].weight
        assert isinstance(weight, Tensor)
        delta = update.delta()
        if delta.numel() != weight.numel() or delta.shape[0] != weight.shape[0]:
            raise LoraError(f"{path}: the LoRA is {list(delta.shape)}, the weight {list(weight.shape)}")
        fused = weight.detach().float() + scale * delta.to(weight.device).view_as(weight)
        modules[path].weight = nn.Parameter(fused.to(weight.dtype), requires_grad=False)


def _locate(key: str, underscored: Mapping[str, str]) -> tuple[str, str]:
    """Which module and which part of its update a key names."""
    if match := _KOHYA.match(key):
        path = underscored.get(match["path"])
        part = match["part"].removeprefix("lora_").removesuffix(".weight")
    elif match := _PROCESSOR.match(key):
        target = "to_out.0" if match["which"] == "out" else f"to_{match['which']}"
        path, part = f"{match['path'].removeprefix('unet.')}.{target}", match["part"]
    elif match := _DIFFUSERS.match(key):
        path, part = match["path"].removeprefix("unet."), _PARTS[match["part"]]
    else:
        raise LoraError(f"key {key!r} is in no format that is known here (diffusers, PEFT, kohya with diffusers names)")
    if path is None or path.replace(".", "_") not in underscored:
        raise LoraError(f"key {key!r} names a module that this UNet does not have")
    return path, part


def _pair(path: str, halves: Mapping[str, Tensor]) -> LowRank:
    if "down" not in halves or "up" not in halves:
        raise LoraError(f"{path}: the LoRA has {' and '.join(sorted(halves))} alone; down and up are needed")
    alpha = float(halves["alpha"]) if "alpha" in halves else None
    return LowRank(halves["down"], halves["up"], alpha)
