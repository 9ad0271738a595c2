"""One portrait: a person, a style and a pose to 256x256 pixels and five landmarks. About 7 ms on one CPU core."""

from dataclasses import dataclass

import numpy as np
import skia

from scripts.train_tiny.drawing.backgrounds import SIZE, draw_background
from scripts.train_tiny.drawing.face import draw_face
from scripts.train_tiny.drawing.face_drawing import FaceDrawing
from scripts.train_tiny.drawing.garments import draw_torso
from scripts.train_tiny.drawing.glasses import draw_glasses
from scripts.train_tiny.drawing.hair import Barber, draw_back_hair, draw_front_hair
from scripts.train_tiny.drawing.head import head_of
from scripts.train_tiny.drawing.light import draw_light, grade
from scripts.train_tiny.drawing.person import DrawnPerson
from scripts.train_tiny.drawing.pose import DrawnPose
from scripts.train_tiny.drawing.style import DrawnStyle

_PIVOT = (128.0, 150.0)


@dataclass(frozen=True, slots=True)
class Render:
    """`pixels` [256, 256, 3] uint8 RGB; `landmarks` [5, 2] float32 in its pixels, in the order of `draw_face`."""

    pixels: np.ndarray
    landmarks: np.ndarray


def render(person: DrawnPerson, style: DrawnStyle, pose: DrawnPose) -> Render:
    surface = skia.Surface(SIZE, SIZE)
    canvas = surface.getCanvas()
    draw_background(canvas, style, np.random.default_rng(pose.seed))
    canvas.save()
    canvas.translate(_PIVOT[0] + pose.shift[0], _PIVOT[1] + pose.shift[1])
    canvas.scale(pose.scale, pose.scale)
    canvas.rotate(pose.roll)
    canvas.translate(-_PIVOT[0], -_PIVOT[1])
    points = _draw_person(canvas, person, style, pose)
    matrix = canvas.getTotalMatrix()
    canvas.restore()
    draw_light(canvas, style.light, style.art)
    pixels = surface.toarray(colorType=skia.kRGBA_8888_ColorType)[:, :, :3]
    placed = [matrix.mapXY(*point) for point in points]
    landmarks = np.array([(point.x(), point.y()) for point in placed], dtype=np.float32)
    return Render(grade(np.ascontiguousarray(pixels), style.art), landmarks)


def _draw_person(
    canvas: skia.Canvas, person: DrawnPerson, style: DrawnStyle, pose: DrawnPose
) -> list[tuple[float, float]]:
    head, inked = head_of(person, pose), style.art == "comic"
    barber = Barber(canvas, person, head, np.random.default_rng(person.seed), inked)
    drawing = FaceDrawing(canvas, person, head, pose, np.random.default_rng(person.seed + 1), inked)
    draw_back_hair(barber)
    draw_torso(canvas, person, style, head)
    points = draw_face(drawing)
    draw_front_hair(barber)
    draw_glasses(drawing)
    return points
