"""A picture scaled into the top-left of a black canvas: what both network detectors read."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.faces.face import Rgb


@dataclass(frozen=True, slots=True)
class Canvas:
    """`image` [height, width, 3]; one pixel of the picture is `scale` pixels of the canvas."""

    image: Rgb
    scale: float


def fitted(picture: Rgb, width: int, height: int) -> Canvas:
    """The largest copy that keeps its shape; sizes cut as insightface cuts them (`int`), boxes depend on it."""
    ratio = picture.shape[0] / picture.shape[1]
    if ratio > height / width:
        new_width, new_height = max(1, int(height / ratio)), height
    else:
        new_width, new_height = width, max(1, int(width * ratio))
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:new_height, :new_width] = cv2.resize(picture, (new_width, new_height))
    return Canvas(image, new_height / picture.shape[0])
