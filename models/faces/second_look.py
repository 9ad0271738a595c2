"""Other ways to look at a photo in which no face was found: with a border around it, and turned.

A face that fills the picture lies outside what a detector was trained to see, and so does one that lies on its side,
as in photos that lost their EXIF orientation on the way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from models.faces.face import Face, Rgb

BORDER = 0.25  # of the longer side
GREY = (128, 128, 128)
TURNS = (1, 3, 2)


@dataclass(frozen=True, slots=True)
class Look:
    """`picture` is the photo after `turns` quarter turns counter-clockwise, inside a border of `border` pixels."""

    picture: Rgb
    turns: int = 0
    border: int = 0

    def placed(self, faces: list[Face]) -> list[Face]:
        """Faces of `picture` in the pixels of the turned photo without the border, beyond whose edges they may go."""
        return [
            replace(face, box=self._box(face), landmarks=face.landmarks - self.border, turns=self.turns)
            for face in faces
        ]

    def _box(self, face: Face) -> tuple[float, float, float, float]:
        x0, y0, x1, y1 = (edge - self.border for edge in face.box)
        return (x0, y0, x1, y1)


def looks(photo: Rgb) -> Iterator[Look]:
    """The likeliest first."""
    border = round(BORDER * max(photo.shape[:2]))
    bordered = cv2.copyMakeBorder(photo, border, border, border, border, cv2.BORDER_CONSTANT, value=GREY)
    yield Look(bordered.astype(np.uint8, copy=False), border=border)
    for turns in TURNS:
        yield Look(turned(photo, turns), turns)


def turned(photo: Rgb, turns: int) -> Rgb:
    """By quarter turns counter-clockwise."""
    return np.ascontiguousarray(np.rot90(photo, turns))
