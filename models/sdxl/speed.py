"""How a worker's networks are made fast. Nothing here changes what they compute, but for the last digits."""

from dataclasses import dataclass
from typing import Literal

Compile = Literal["off", "blocks", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Every switch by itself, so that a fault can be bisected.

    graphs: calls are recorded at warm-up and played (CUDA alone). compile: "blocks" compiles each kind of transformer
    block once for all sizes, "full" whole networks for every shape, which takes minutes; both compile the decoder.
    fp8: large matrix products in 8 bits, row by row; style LoRAs can't be applied to such weights.
    """

    graphs: bool = True
    compile: Compile = "off"
    fp8: bool = False


EAGER = Speed(graphs=False)
