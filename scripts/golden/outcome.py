"""What holding one recorded case against this implementation gave."""

import math
from dataclasses import dataclass

from torch import Tensor

PIXEL_TOLERANCE = 1 / 255 + 1e-4  # ours are 8-bit, the records float


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    difference: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        return f"{self.name:52} {self.difference:10.2e} {self.tolerance:10.2e}  {'ok' if self.ok else 'MISS'}"


def difference(result: Tensor, expected: Tensor) -> float:
    """The largest absolute one; infinite for other shapes."""
    return float((result.cpu() - expected.cpu()).abs().max()) if result.shape == expected.shape else math.inf


def relative_difference(result: Tensor, expected: Tensor) -> float:
    """The same as a share of the largest expected value."""
    return difference(result, expected) / max(float(expected.abs().max()), 1e-12)
