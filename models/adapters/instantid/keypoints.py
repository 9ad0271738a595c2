"""The picture of five keypoints that IdentityNet reads, drawn to the pixel as InstantID was trained on it.

Radius and thickness are pixels whatever the canvas: weights know them at 1024 to 1280 pixels.
"""

import cv2
import numpy as np

from models.faces.face import Rgb

# Image-left eye, image-right eye, nose, image-left and image-right mouth corner.
_PALETTE = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
_NOSE = 2
_LIMBS = (0, 1, 3, 4)  # each to the nose; later ones lie on top
_LIMB_BRIGHTNESS = 0.6
_HALF_THICKNESS = 4
_RADIUS = 10


def draw_keypoints(landmarks: np.ndarray, width: int, height: int) -> Rgb:
    """`landmarks` [5, 2] in pixels of the canvas; points beyond its edges are cut off there. -> [height, width, 3]."""
    canvas = np.zeros((height, width, 3), np.uint8)
    for index in _LIMBS:
        colour = tuple(int(_LIMB_BRIGHTNESS * channel) for channel in _PALETTE[index])
        cv2.fillConvexPoly(canvas, _limb(landmarks[index], landmarks[_NOSE]), colour)
    for (x, y), colour in zip(landmarks, _PALETTE, strict=True):
        cv2.circle(canvas, (int(x), int(y)), _RADIUS, colour, cv2.FILLED)
    return canvas


def _limb(point: np.ndarray, nose: np.ndarray) -> np.ndarray:
    """The ellipse between two points as a polygon; every number is cut (`int`), none is rounded."""
    centre = (int((point[0] + nose[0]) / 2), int((point[1] + nose[1]) / 2))
    across, down = (float(difference) for difference in point - nose)
    axes = (int(np.hypot(across, down) / 2), _HALF_THICKNESS)
    turn = int(np.degrees(np.arctan2(down, across)))
    return np.array(cv2.ellipse2Poly(centre, axes, turn, 0, 360, 1))
