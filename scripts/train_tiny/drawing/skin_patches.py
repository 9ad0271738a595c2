"""Where a face shows its skin: patches of both cheeks and the forehead, found from five landmarks."""

import numpy as np

_SIDE = 0.22  # of a patch, in distances between the eyes
_ACROSS, _DOWN = 0.45, 0.42  # a cheek from the middle of the eyes; beside the nose, above a beard
_UP = 0.42  # the forehead, between the brows and a fringe


def skin_places(landmarks: np.ndarray) -> list[np.ndarray]:
    """Both cheeks and the forehead, [2] each in the pixels of `landmarks` [5, 2]: seldom under hair or glasses."""
    left, right = landmarks[0], landmarks[1]
    across = right - left
    down = np.array([-across[1], across[0]])
    middle = (left + right) / 2
    return [middle + side * _ACROSS * across + _DOWN * down for side in (-1, 1)] + [middle - _UP * down]


def skin_patches(landmarks: np.ndarray, shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Rows and columns around each of these, cut at the edges of a picture of this height and width."""
    half = max(1, round(float(np.linalg.norm(landmarks[1] - landmarks[0])) * _SIDE / 2))
    patches: list[tuple[slice, slice]] = []
    for centre in skin_places(landmarks):
        y, x = (int(np.clip(round(float(c)), 0, size - 1)) for c, size in zip(centre[::-1], shape, strict=True))
        patches.append((slice(max(0, y - half), y + half + 1), slice(max(0, x - half), x + half + 1)))
    return patches
