"""A LoRA's file: its tensors, and what diffusers notes beside them of how much they count."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from safetensors import SafetensorError, safe_open
from torch import Tensor

from models.adapters.lora import LoraError, LowRank, Updates, read_lora
from models.adapters.lora_names import COMPONENTS, ModuleNames
from models.engine.finite import NOT_FINITE, first_not_finite

NOTE = "lora_adapter_metadata"  # diffusers' key of the file's metadata; its value is PEFT's LoraConfig as JSON


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """What of PEFT's LoraConfig says how much a module's update counts; the defaults are PEFT's."""

    r: int = 8
    lora_alpha: float = 8
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    use_rslora: bool = False
    use_dora: bool = False

    def alpha(self, module: str, rank: int) -> float:
        """By which alpha / rank is PEFT's scaling of this module. Raises LoraError."""
        if self.use_dora:
            raise LoraError("the file's metadata says that it is a DoRA; only plain LoRA and LoCon files are read here")
        stated = _by_pattern(self.rank_pattern, module, self.r)
        if stated != rank:
            raise LoraError(f"{module}: the file's metadata says rank {stated}, and its tensors have rank {rank}")
        alpha = _by_pattern(self.alpha_pattern, module, self.lora_alpha)
        if not math.isfinite(alpha):
            raise LoraError(f"{module}: the alpha in the file's metadata {NOT_FINITE}")
        return alpha * math.sqrt(rank) if self.use_rslora else alpha


def read_lora_file(path: Path, names: ModuleNames) -> Updates:
    """Raises LoraError for a file that is empty, cut off or holds no finite numbers, and as `read_lora` does."""
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            note = (file.metadata() or {}).get(NOTE)
    except SafetensorError as error:
        raise LoraError(f"the file is no safetensors file, or half of one: {error}") from error
    if not state:
        raise LoraError("the file holds no tensors")
    if (name := first_not_finite(state)) is not None:
        raise LoraError(f"{name} {NOT_FINITE}")
    updates = read_lora(state, names)
    return updates if note is None else _scaled(updates, note)


def _scaled(updates: Updates, note: str) -> Updates:
    """With the alphas of the file's metadata. As diffusers, this takes them from one place or the other."""
    if stated := [path for path, update in updates.items() if update.alpha is not None]:
        raise LoraError(f"{stated[0]}: the file states an alpha twice, as a tensor and in its metadata")
    scalings = _scalings(note)
    return {path: _with_alpha(path, update, scalings) for path, update in updates.items()}


def _with_alpha(path: str, update: LowRank, scalings: Mapping[str, Scaling]) -> LowRank:
    component, _, module = path.partition(".")
    scaling = scalings.get(component)
    rank = update.down.shape[0]
    return update if scaling is None else LowRank(update.down, update.up, scaling.alpha(module, rank))


def _scalings(note: str) -> dict[str, Scaling]:
    """By component. A note without their names is the UNet's: so diffusers saves a UNet alone. Raises LoraError."""
    try:
        told = msgspec.convert(json.loads(note), dict[str, Any])
        parts = {name: _part(told, f"{name}.") for name in COMPONENTS}
        found = {name: part for name, part in parts.items() if part} or {"unet": told}
        return {name: msgspec.convert(part, Scaling) for name, part in found.items() if part}
    except (ValueError, RecursionError) as error:
        raise LoraError(f"the file's metadata {NOTE!r} can't be read: {error}") from None


def _part(told: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in told.items() if key.startswith(prefix)}


def _by_pattern(patterns: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
    """The value of the first pattern that is the module's name or its end; PEFT reads them as regular expressions."""
    for pattern, value in (patterns or {}).items():
        try:
            if re.fullmatch(rf"(.*\.)?({pattern})", module):
                return value
        except re.error:
            raise LoraError(f"the file's metadata has {pattern!r} for a pattern, which is none") from None
    return otherwise
