"""Which style LoRA a row wants on the weights while it runs."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """One of the bundle's style LoRAs, and how strongly. Rows of different choices never share a call."""

    name: str
    scale: float


class LoraApplier(Protocol):
    """Applies LoRAs to a network's weights, one at a time."""

    def apply(self, wanted: LoraChoice | None) -> bool:
        """Before the call returns, the weights are those that were loaded plus `wanted`, and nothing else.

        Whether that took a change.
        """
        ...


def apply_lora(applier: LoraApplier | None, wanted: LoraChoice | None) -> bool:
    """Whether weights were changed. Raises ValueError for a LoRA on a network that was built without an applier."""
    if applier is not None:
        return applier.apply(wanted)
    if wanted is not None:
        raise ValueError(f"this network can't apply the LoRA {wanted.name!r}: it was built without style LoRAs")
    return False
