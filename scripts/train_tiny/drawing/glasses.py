"""Glasses: round, square or aviator."""

import skia

from scripts.train_tiny.drawing.face_drawing import EYE_LINE, FaceDrawing
from scripts.train_tiny.drawing.paint import WHITE, blob, fill, oval, stroke


def draw_glasses(drawing: FaceDrawing) -> None:
    kind = drawing.person.glasses
    if kind == "none":
        return
    canvas, head, frame = drawing.canvas, drawing.head, drawing.person.frame
    width, _ = drawing.eye_size
    half, tall = width * 1.5 + 2, width * (1.42 if kind == "round" else 1.15)
    thick = 2.4 if kind == "aviator" else 3.2
    rims = []
    for side in (-1, 1):
        x, y = head.at(side * drawing.eye_distance, EYE_LINE + 0.02)
        w = half * max(0.6, head.squeeze(side))
        rim = _rim(kind, side, x, y, w, tall)
        canvas.drawPath(rim, fill((60, 40, 30), 70) if kind == "aviator" else fill((200, 225, 240), 34))
        canvas.drawPath(rim, stroke(frame, thick))
        canvas.drawLine(x - w * 0.5, y - tall * 0.5, x - w * 0.1, y - tall * 0.05, stroke(WHITE, 2, 90))
        canvas.drawLine(x + side * w, y - 2, *head.at(side * 1.0, 0.0, 0.0), stroke(frame, 2.4))
        rims.append((x - side * w, y - 2))
    canvas.drawLine(*rims[0], *rims[1], stroke(frame, 2.8))


def _rim(kind: str, side: int, x: float, y: float, w: float, tall: float) -> skia.Path:
    path = skia.Path()
    if kind == "round":
        path.addOval(oval((x, y), w, tall * 0.92))
    elif kind == "square":
        path.addRoundRect(oval((x, y), w, tall * 0.92), 5, 5)
    else:
        points = [(-w, -0.8), (0, -0.92), (w, -0.8), (w * 0.78, 0.5), (side * w * 0.1, 1.15), (-w * 0.78, 0.5)]
        path = blob([(x + px, y + py * tall) for px, py in points])
    return path
