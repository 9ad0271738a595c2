"""Sizes for callers who ask for one by habit: the one that the bundle makes and that comes nearest."""

import math
from collections.abc import Sequence


def nearest_size(text: str, sizes: Sequence[tuple[int, int]]) -> str:
    """Of `sizes` (width, height) the one of the shape nearest to `WxH`; among these, the one of the nearest area."""
    width, height = (int(number) for number in text.split("x"))

    def distance(size: tuple[int, int]) -> tuple[float, float]:
        shape = abs(math.log(size[0] / size[1]) - math.log(width / height))
        return round(shape, 3), abs(math.log(size[0] * size[1] / (width * height)))

    best = min(sizes, key=distance)
    return f"{best[0]}x{best[1]}"
