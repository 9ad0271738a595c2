"""The head as an egg turned in space: where a point of the face lands on the canvas."""

import math
from dataclasses import dataclass

from scripts.train_tiny.drawing.paint import Point
from scripts.train_tiny.drawing.person import DrawnPerson
from scripts.train_tiny.drawing.pose import DrawnPose

CENTRE: Point = (128.0, 112.0)


@dataclass(frozen=True, slots=True)
class Head:
    """Points of the face are given in half widths (x, right) and half heights (y, down) from its centre."""

    width: float  # half, in canvas pixels before the pose's scale
    height: float
    sine: float
    cosine: float
    pitch: float

    def at(self, x: float, y: float, depth: float | None = None) -> Point:
        """`depth` towards the viewer in half widths; on the egg's surface if not given."""
        if depth is None:
            inside = 1 - (x / 1.12) ** 2 - (max(0.0, abs(y) - 0.1) / 1.35) ** 2
            depth = 0.92 * math.sqrt(max(inside, 0.0))
        turned = (x * self.cosine + depth * self.sine) * self.width
        return (CENTRE[0] + turned, CENTRE[1] + y * self.height + depth * self.width * self.pitch)

    def surface(self, points: list[Point], depth: float | None = None) -> list[Point]:
        return [self.at(x, y, depth) for x, y in points]

    @property
    def sway(self) -> float:
        """Pixels by which hair and neck follow the turn."""
        return self.width * 0.35 * self.sine

    def squeeze(self, side: int) -> float:
        """How narrow an eye on `side` (-1 or 1) looks from here, 0.45..1."""
        away = max(0.0, side * self.sine)
        return max(0.45, self.cosine * (1 - 0.55 * away))


def head_of(person: DrawnPerson, pose: DrawnPose) -> Head:
    return Head(
        width=44 + 9 * person.shapes["face_width"],
        height=59 + 8 * person.shapes["face_length"],
        sine=math.sin(pose.yaw),
        cosine=math.cos(pose.yaw),
        pitch=pose.pitch,
    )
