"""Faces too small for the bundled detector's look at the whole picture: finder over its parts, cascade to confirm.

Of scikit-image's astronaut pasted into larger pictures (1536x1152, 8 each), with faces of 24, 28, 34, 48 and 80 pixels,
one look finds none, the parts 2, 6, 7, 7 and 8. They take 0.6 s: for photos in which nothing else was found.
"""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from models.faces.align import moved
from models.faces.cascade import FaceCascade
from models.faces.detection import Detection
from models.faces.face import Rgb
from models.faces.finder import FRAME_SIZE, FaceFinder
from models.faces.overlap import corners, kept

PARTS = ((3, 0.5), (6, 0.5), (10, 0.67))  # how many fit into a side, and how far the next begins, in parts' own sides
SURROUNDINGS = 1.3  # sides to each side of a candidate: what the cascade is shown of it
SAME_SIDE = 1.7  # the cascade's box may be so many times as large as the finder's, or as small
MAX_CANDIDATES = 8  # for the cascade: most of the time is its
MAX_OVERLAP = 0.3


class SmallFaceSearch:
    """Thread-safe: keeps nothing between calls."""

    def __init__(self, cascade: FaceCascade, finder: FaceFinder) -> None:
        self._cascade = cascade
        self._finder = finder

    def find(self, picture: Rgb) -> list[Detection]:
        """Confirmed faces, of the largest parts that show one."""
        for count, step in PARTS:
            candidates = [
                shifted(detection, (left, top))
                for left, top, part in parts(picture, count, step)
                for detection in self._finder.find(part)
            ]
            found = [self._confirmed(picture, candidate) for candidate in candidates[:MAX_CANDIDATES]]
            if faces := [detection for detection in found if detection]:
                return separate(faces)
        return []

    def _confirmed(self, picture: Rgb, candidate: Detection) -> Detection | None:
        x, y, side = square(candidate)
        reach = SURROUNDINGS * side
        left, top = (max(0, int(edge - reach)) for edge in (x, y))
        part = np.ascontiguousarray(picture[top : int(y + reach), left : int(x + reach)])
        for seen in self._cascade.find(part) if min(part.shape[:2]) > 0 else []:
            if 1 / SAME_SIDE < square(seen)[2] / side < SAME_SIDE:
                return shifted(seen, (left, top))
        return None


def parts(picture: Rgb, count: int, step: float) -> Iterator[tuple[int, int, Rgb]]:
    """Left, top and pixels of overlapping parts that cover the picture; none so small that the finder enlarges them."""
    height, width = (side // count for side in picture.shape[:2])
    if max(height, width) < FRAME_SIZE:
        return
    places = np.linspace(0, 1, round((count - 1) / step) + 1)
    for top in ((picture.shape[0] - height) * places).astype(int).tolist():
        for left in ((picture.shape[1] - width) * places).astype(int).tolist():
            yield left, top, np.ascontiguousarray(picture[top : top + height, left : left + width])


def shifted(detection: Detection, corner: tuple[int, int]) -> Detection:
    """Found in the part of a picture that begins at `corner` (left, top), seen from the whole."""
    to_part = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]], [0, 0, 1]])
    return replace(detection, upright=detection.upright @ to_part)


def square(detection: Detection) -> tuple[float, float, float]:
    """Its centre and side in the picture."""
    x, y = moved(np.array([detection.x, detection.y]), cv2.invertAffineTransform(detection.upright)).tolist()
    return x, y, detection.side / detection.scale


def separate(detections: list[Detection]) -> list[Detection]:
    """Each face once, widest first: parts overlap."""
    squares = np.array([square(detection) for detection in detections])
    return [detections[index] for index in kept(corners(squares), squares[:, 2], MAX_OVERLAP)]
