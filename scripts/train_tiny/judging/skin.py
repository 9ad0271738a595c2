"""Skin tone as the individual typology angle (ITA): degrees, about 60 for the lightest skin and -80 for the darkest.

ITA = atan2(L* - 50, b*) in CIELAB, Chardon et al. 1991 (https://doi.org/10.1111/j.1467-2494.1991.tb00561.x). By the
quadrant, because the darkest skin has b* near zero and may cross it.
"""

import math

import cv2
import numpy as np

from scripts.train_tiny.drawing.skin_patches import skin_patches


def skin_ita(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Degrees, from the median colour of both cheeks and the forehead of an [H, W, 3] uint8 sRGB picture."""
    lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    pixels = np.concatenate([lab[patch].reshape(-1, 3) for patch in skin_patches(landmarks, lab.shape[:2])])
    lightness, _, yellow = np.median(pixels, axis=0)
    return math.degrees(math.atan2(float(lightness) - 50, float(yellow)))
