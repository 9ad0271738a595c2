"""One person being drawn in one picture, and what all parts of the face need to know."""

from dataclasses import dataclass

import numpy as np
import skia

from scripts.train_tiny.drawing.head import Head
from scripts.train_tiny.drawing.paint import Point, curve, dim, mix
from scripts.train_tiny.drawing.person import DrawnPerson, Rgb
from scripts.train_tiny.drawing.pose import DrawnPose

EYE_LINE = 0.05
MOUTH_LINE = 0.62


@dataclass(frozen=True, slots=True)
class FaceDrawing:
    """Everything that the parts of a face need to be drawn."""

    canvas: skia.Canvas
    person: DrawnPerson
    head: Head
    pose: DrawnPose
    rng: np.random.Generator
    inked: bool

    @property
    def skin(self) -> Rgb:
        return self.person.skin

    def shape(self, name: str) -> float:
        return self.person.shapes[name]

    def tone(self, darkness: float) -> Rgb:
        """Skin in shadow turns warm, not grey; very dark skin is shaded less, so that features stay legible."""
        depth = darkness + (1 - darkness) * 0.25 * (self.person.tone / 9)
        red, green, blue = dim(self.skin, depth)
        return (red * 1.02, green * (0.72 + 0.26 * depth), blue * (0.62 + 0.36 * depth))

    @property
    def lit(self) -> Rgb:
        return mix(self.skin, (255, 236, 216), 0.28 if self.person.tone < 6 else 0.2)

    @property
    def beard_rgb(self) -> Rgb:
        return dim(self.person.hair_rgb, 0.85)

    def line(self, points: list[Point], paint: skia.Paint, depth: float | None = None) -> None:
        self.canvas.drawPath(curve(self.head.surface(points, depth)), paint)

    @property
    def eye_size(self) -> tuple[float, float]:
        """Half width and half height in canvas pixels."""
        size = self.shape("eye_size")
        return 9.8 + 3.2 * size, (5.4 + 2.6 * size) * (1 - 0.25 * self.shape("eye_lid"))

    @property
    def eye_distance(self) -> float:
        return 0.40 + 0.09 * self.shape("eye_spacing")

    @property
    def mouth_width(self) -> float:
        return 0.26 + 0.14 * self.shape("mouth_width")

    @property
    def jaw(self) -> float:
        return 0.66 + 0.26 * self.shape("jaw")
