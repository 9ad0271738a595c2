"""Which style LoRA a row wants on the weights while it runs."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """One of the bundle's style LoRAs, and how strongly. Rows of different choices never share a call."""

    name: str
    scale: float


class Rack(Protocol):
    """What puts LoRAs on a network's weights."""

    def wear(self, wanted: LoraChoice | None) -> bool:
        """Before the call returns, the weights are those that were loaded plus `wanted`, and nothing else.

        Whether that took a change.
        """
        ...


def wear(rack: Rack | None, wanted: LoraChoice | None) -> bool:
    """A network without a rack wears nothing, ever. Whether weights were changed."""
    if rack is not None:
        return rack.wear(wanted)
    if wanted is not None:
        raise ValueError(f"this network can't wear the LoRA {wanted.name!r}: it was built without a rack")
    return False
