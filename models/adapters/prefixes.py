"""Parts of a flat checkpoint: keys of the part `image_proj` begin with "image_proj."."""

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def under(prefix: str, state: Mapping[str, T]) -> dict[str, T]:
    """What the part holds, by its keys without the prefix."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
