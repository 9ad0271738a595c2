"""Skin tone as the individual typology angle (ITA): degrees, about 60 for the lightest skin and -80 for the darkest.

ITA = atan2(L* - 50, b*) in CIELAB, Chardon et al. 1991 (https://doi.org/10.1111/j.1467-2494.1991.tb00561.x). By the
quadrant, because the darkest skin has b* near zero and may cross it.
"""

import math

import cv2
import numpy as np

_SIDE = 0.22  # of a patch, in distances between the eyes
_ACROSS, _DOWN = 0.45, 0.42  # a cheek from the middle of the eyes; beside the nose, above a beard
_UP = 0.42  # the forehead, between the brows and a fringe


def skin_ita(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Degrees, from the median colour of both cheeks and the forehead of an [H, W, 3] uint8 sRGB picture."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    pixels = np.concatenate([lab[patch].reshape(-1, 3) for patch in skin_patches(landmarks, lab.shape[:2])])
    lightness, _, yellow = np.median(pixels, axis=0)
    return math.degrees(math.atan2(float(lightness) - 50, float(yellow)))


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
