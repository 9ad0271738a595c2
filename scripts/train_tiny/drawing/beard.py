"""Beard, goatee, moustache and stubble."""

from scripts.train_tiny.drawing.face_drawing import MOUTH_LINE, FaceDrawing
from scripts.train_tiny.drawing.paint import WHITE, Point, blob, dim, fill, linear, mix, shade, stroke


def draw_beard(drawing: FaceDrawing) -> None:
    kind = drawing.person.facial_hair
    inner = [(0.86, 0.28), (0.62, 0.5), (0.3, 0.5), (0, 0.465), (-0.3, 0.5), (-0.62, 0.5), (-0.86, 0.28)]
    jaw = drawing.jaw
    half = [(1.0, 0.1), (1.0, 0.46), (jaw + 0.08, 0.76), (0.42, 1.02), (0.0, 1.08)]
    outer = [*((-x, y) for x, y in half[:-1]), *reversed(half)]
    points = [drawing.head.at(x, y, 0.35 if y > 0.7 else None) for x, y in outer] + drawing.head.surface(inner)
    shape = blob(points)
    if kind == "stubble":
        drawing.canvas.drawPath(shape, fill(mix(drawing.beard_rgb, drawing.skin, 0.25), 120, blur=3))
    if kind != "beard":
        return
    top, bottom = drawing.head.at(0, 0.2), drawing.head.at(0, 1.1)
    tones = [drawing.beard_rgb, dim(drawing.beard_rgb, 0.75)]
    drawing.canvas.drawPath(shape, shade(linear(top, bottom, tones), blur=1))
    drawing.canvas.save()
    drawing.canvas.clipPath(shape, True)
    for x, y in drawing.rng.uniform((-1, 0.2), (1, 1.0), (34, 2)):
        px, py = drawing.head.at(float(x), float(y))
        hair = mix(dim(drawing.beard_rgb, 0.7), mix(drawing.beard_rgb, WHITE, 0.25), drawing.rng.random())
        drawing.canvas.drawLine(px, py, px + 2 * float(x), py + 9, stroke(hair, 1.4, 90))
    drawing.canvas.restore()


def draw_moustache(drawing: FaceDrawing) -> None:
    kind, wide = drawing.person.facial_hair, drawing.mouth_width
    if kind not in ("moustache", "goatee", "beard"):
        return

    def at(x: float, dy: float) -> Point:
        px, py = drawing.head.at(x * wide, MOUTH_LINE, 0.93)
        return (px, py + dy)

    lip = [(-1.2, 1), (-0.7, -8.4), (0, -9.6), (0.7, -8.4), (1.2, 1), (0.6, -2.2), (0, -3.0), (-0.6, -2.2)]
    drawing.canvas.drawPath(blob([at(x, dy) for x, dy in lip]), fill(dim(drawing.beard_rgb, 0.9), 250, blur=0.7))
    if kind == "goatee":
        drop = 0.36 * drawing.head.height
        chin = [(-0.85, 11), (0, 12.5), (0.85, 11), (0.6, drop * 0.9), (0, drop * 1.08), (-0.6, drop * 0.9)]
        drawing.canvas.drawPath(blob([at(x, dy) for x, dy in chin]), fill(drawing.beard_rgb, 250, blur=1))
