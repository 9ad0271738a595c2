"""A face as the bundled detectors report it: a square in an upright frame."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Detection:
    """A square face box in an upright frame; `upright` [2, 3] maps picture pixels to the frame's."""

    x: float  # centre
    y: float
    side: float
    upright: np.ndarray

    @property
    def scale(self) -> float:
        """Frame pixels per picture pixel."""
        return float(np.hypot(self.upright[0, 0], self.upright[1, 0]))
