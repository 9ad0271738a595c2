"""The face: outline, shading, eyes, nose and mouth, and where the five landmarks landed."""

import math

import skia

from scripts.train_tiny.drawing.beard import draw_beard, draw_moustache
from scripts.train_tiny.drawing.face_drawing import EYE_LINE, MOUTH_LINE, FaceDrawing
from scripts.train_tiny.drawing.paint import WHITE, Point, blob, curve, dim, fill, mix, oval, radial, shade, stroke
from scripts.train_tiny.drawing.person import Rgb


def draw_face(drawing: FaceDrawing) -> list[Point]:
    """Five landmarks: image-left eye, image-right eye, nose tip, image-left and image-right mouth corner."""
    _draw_ears(drawing)
    _draw_skin(drawing)
    draw_beard(drawing)
    eyes = [_draw_eye(drawing, side) for side in (-1, 1)]
    for side in (-1, 1):
        _draw_brow(drawing, side)
    nose = _draw_nose(drawing)
    corners = _draw_mouth(drawing)
    draw_moustache(drawing)
    return [*eyes, nose, *corners]


def _draw_ears(drawing: FaceDrawing) -> None:
    size = 8 + 4.5 * drawing.shape("ear_size")
    for side in (-1, 1):
        if side * drawing.head.sine > 0.3:
            continue
        x, y = drawing.head.at(side * 1.0, 0.1, -0.1)
        drawing.canvas.drawOval(oval((x, y), size * 0.75, size * 1.15), fill(dim(drawing.skin, 0.9)))
        drawing.canvas.drawOval(oval((x, y), size * 0.35, size * 0.7), fill(drawing.tone(0.66), 170, blur=1.4))
        if drawing.person.earrings:
            drawing.canvas.drawCircle(x + side * 1.5, y + size * 1.25, 3.2, fill((236, 200, 96)))


def _outline(drawing: FaceDrawing) -> list[Point]:
    jaw, chin, cheek = drawing.jaw, 0.2 + 0.26 * drawing.shape("chin"), drawing.shape("cheek")
    half = [
        (0.0, -1.0), (0.62, -0.86), (0.96, -0.38), (1.0, 0.06), (0.8 + 0.2 * jaw + 0.05 * cheek, 0.42),
        (jaw, 0.7), (chin * 1.2, 0.955), (0.0, 1.0),
    ]  # fmt: skip
    around = [*half, *((-x, y) for x, y in half[-2:0:-1])]
    return [drawing.head.at(x, y, 0.0 if abs(x) > 0.9 else 0.5 if y > 0.8 else 0.12) for x, y in around]


def _draw_skin(drawing: FaceDrawing) -> None:
    canvas, head, skin = drawing.canvas, drawing.head, drawing.skin
    face = blob(_outline(drawing))
    canvas.drawPath(face, fill(skin))
    canvas.save()
    canvas.clipPath(face, True)
    x, _ = head.at(0, 0.2)
    light = (x - 14 * drawing.pose.light, 102)
    canvas.drawRect(
        skia.Rect.MakeWH(256, 256), shade(radial(light, head.width * 1.75, [drawing.lit, skin, drawing.tone(0.78)]))
    )
    canvas.drawPath(face, stroke(drawing.tone(0.58), 9, 80, blur=6))
    _draw_cheeks(drawing)
    _draw_marks(drawing)
    canvas.restore()
    if drawing.inked:
        canvas.drawPath(face, stroke((30, 20, 24), 2.6, 235))


def _draw_cheeks(drawing: FaceDrawing) -> None:
    blush = mix(drawing.skin, (214, 70, 66), 0.45)
    for side in (-1, 1):
        x, y = drawing.head.at(side * 0.55, 0.36)
        radius = drawing.head.width * (0.22 + 0.06 * drawing.shape("cheek"))
        drawing.canvas.drawCircle(x, y, radius, fill(blush, 70 if drawing.person.feminine else 42, blur=8))
        drawing.canvas.drawOval(oval(drawing.head.at(side * 0.42, 0.02), 15, 10), fill(drawing.tone(0.64), 70, blur=5))


def _draw_marks(drawing: FaceDrawing) -> None:
    """Freckles, mole and lines of age."""
    person, canvas, head = drawing.person, drawing.canvas, drawing.head
    spots = drawing.rng.uniform((-0.62, 0.16), (0.62, 0.44), (30, 2))
    for x, y in spots if person.freckles else ():
        canvas.drawCircle(*head.at(float(x), float(y)), 1.4, fill(mix(drawing.tone(0.6), (150, 80, 40), 0.4), 200))
    if person.mole >= 0:
        canvas.drawCircle(*head.at(*((0.34, 0.56), (-0.52, 0.38), (0.56, 0.22))[person.mole]), 2.4, fill((58, 34, 28)))
    if person.age < 0.15:
        return
    crease = drawing.tone(0.55)
    for side in (-1, 1):
        fold = [(side * 0.3, 0.4), (side * 0.4, 0.52), (side * 0.42, 0.64)]
        drawing.line(fold, stroke(crease, 1.9, 190 * person.age, blur=0.6))
        bag = [(side * 0.24, 0.17), (side * 0.42, 0.215), (side * 0.6, 0.16)]
        drawing.line(bag, stroke(crease, 1.5, 150 * person.age, blur=0.5))
    for row in range(2):
        y = -0.44 - 0.09 * row
        drawing.line([(-0.4, y), (0, y - 0.02), (0.4, y)], stroke(crease, 1.5, 130 * person.age, blur=0.5))


def _draw_eye(drawing: FaceDrawing, side: int) -> Point:
    canvas, person, smile = drawing.canvas, drawing.person, max(0.0, drawing.pose.smile)
    x, y = drawing.head.at(side * drawing.eye_distance, EYE_LINE)
    width, height = drawing.eye_size
    width *= drawing.head.squeeze(side)
    tilt = (drawing.shape("eye_tilt") * 2 - 1) * 2.6
    open_ = height * (1 - 0.14 * smile)
    # The outer corner is raised by `tilt`; the outer side is +x for the image-right eye.
    outer, inner = (x + side * width, y + 1 - tilt), (x - side * width, y + 1.5 + tilt * 0.4)
    lid = [
        inner,
        (x - side * width * 0.5, y - open_ * 0.84),
        (x, y - open_),
        (x + side * width * 0.5, y - open_ * 0.86),
        outer,
    ]
    under = [
        (x + side * width * 0.5, y + height * 0.62),
        (x, y + height * 0.78),
        (x - side * width * 0.5, y + height * 0.62),
    ]
    eye = blob([*lid, *under])
    canvas.drawPath(eye, fill((250, 248, 245)))
    canvas.save()
    canvas.clipPath(eye, True)
    _draw_iris(
        drawing,
        (x + drawing.pose.gaze * 4 + drawing.head.sine * 3, y - 0.2),
        height / (1 - 0.12 * drawing.shape("eye_lid")),
    )
    canvas.drawPath(curve(lid), stroke((40, 24, 20), 4, 80, blur=1.6))
    canvas.restore()
    lash: Rgb = (22, 16, 16)
    canvas.drawPath(curve(lid), stroke(lash, 2.9 if person.feminine else 2.1))
    if person.feminine:
        canvas.drawLine(*outer, outer[0] + side * 3.6, outer[1] - 3.2, stroke(lash, 2))
    fold = [(px, py - 3 - 3 * (1 - drawing.shape("eye_lid"))) for px, py in lid[1:4]]
    canvas.drawPath(curve(fold), stroke(drawing.tone(0.55), 1.3, 150))
    canvas.drawPath(curve([outer, *under, inner]), stroke(drawing.tone(0.5), 1, 130))
    return (x, y)


def _draw_iris(drawing: FaceDrawing, centre: Point, height: float) -> None:
    x, y = centre
    radius, colour = height * 0.95, drawing.person.eye_rgb
    tones = [mix(colour, WHITE, 0.3), colour, dim(colour, 0.45)]
    drawing.canvas.drawCircle(x, y, radius, shade(radial((x, y + 1.5), radius * 1.1, tones)))
    drawing.canvas.drawCircle(x, y, radius * 0.42, fill((12, 10, 12)))
    drawing.canvas.drawCircle(x - radius * 0.32, y - radius * 0.42, radius * 0.24, fill(WHITE, 240))


def _draw_brow(drawing: FaceDrawing, side: int) -> None:
    width, _ = drawing.eye_size
    half = width / drawing.head.width
    thick = 2.0 + 3.4 * drawing.shape("brow_thickness")
    angle = (drawing.shape("brow_angle") * 2 - 1) * 0.05
    y, middle = -0.185 - 0.02 * drawing.shape("eye_size"), drawing.eye_distance
    arch = [(middle - half * 1.1, y + 0.025 - angle), (middle, y - 0.035), (middle + half * 1.25, y + 0.035 + angle)]
    top = drawing.head.surface([(side * px, py) for px, py in arch])
    bottom = [(px, py + thick * share) for (px, py), share in zip(reversed(top), (0.15, 0.8, 1.0), strict=True)]
    colour = mix(dim(drawing.person.hair_rgb, 0.72), (40, 28, 24), 0.3)
    drawing.canvas.drawPath(blob([*top, *bottom]), fill(colour, 235, blur=0.5))


def _draw_nose(drawing: FaceDrawing) -> Point:
    """The tip is the landmark."""
    canvas, head = drawing.canvas, drawing.head
    tip = head.at(0, 0.3 + 0.1 * drawing.shape("nose_length"), 1.12)
    x, y = tip
    wing = head.width * (0.135 + 0.11 * drawing.shape("nose_width"))
    far = -1 if head.sine >= 0 else 1
    bridge = [
        head.at(far * 0.07, -0.04, 0.96),
        head.at(far * 0.085, 0.14, 1.0),
        (x + far * wing * 0.8, y - 1),
        (x + far * wing, y + 3),
    ]
    canvas.drawPath(curve(bridge), stroke(drawing.tone(0.6), 2.6, 125, blur=1.4))
    canvas.drawOval(oval((x, y + 1), wing, 5), fill(drawing.tone(0.58), 95, blur=2.5))
    canvas.drawOval(oval((x, y - 1.8), wing * 0.6, 5), fill(drawing.lit, 190, blur=2))
    for side in (-1, 1):
        canvas.drawOval(oval((x + side * wing * 0.52, y + 3.4), 2.3, 1.4), fill(drawing.tone(0.34), 235, blur=0.5))
        nostril = [
            (x + side * wing * 0.82, y - 3),
            (x + side * wing * 1.06, y + 1.2),
            (x + side * wing * 0.78, y + 4.2),
        ]
        canvas.drawPath(curve(nostril), stroke(drawing.tone(0.52), 1.6, 200))
    canvas.drawLine(*head.at(0, 0.0, 0.98), x, y - 7, stroke(mix(drawing.skin, WHITE, 0.4), 3.4, 95, blur=2))
    return tip


def _draw_mouth(drawing: FaceDrawing) -> list[Point]:
    canvas, smile, wide = drawing.canvas, drawing.pose.smile, drawing.mouth_width
    thick = 2.4 + 4.4 * drawing.shape("lip_fullness")
    lips = mix(drawing.tone(0.76), (196, 54, 66), drawing.shape("lip_colour") * 0.75)
    lift = -smile * 4.8

    def at(x: float, dy: float) -> Point:
        px, py = drawing.head.at(x, MOUTH_LINE, 0.93 * math.sqrt(max(0.0, 1 - x * x)))
        return (px, py + dy)

    left, right = at(-wide, lift), at(wide, lift)
    middle = [at(-wide * 0.5, lift * 0.28 + 0.8), at(0, 1.2), at(wide * 0.5, lift * 0.28 + 0.8)]
    upper = [
        left, at(-wide * 0.5, lift * 0.4 - thick * 0.55), at(-wide * 0.14, -thick * 0.86), at(0, -thick * 0.62),
        at(wide * 0.14, -thick * 0.86), at(wide * 0.5, lift * 0.4 - thick * 0.55), right,
    ]  # fmt: skip
    lower = [
        at(wide * 0.55, lift * 0.2 + thick * 0.9 + 1),
        at(0, thick * 1.35 + 1.6),
        at(-wide * 0.55, lift * 0.2 + thick * 0.9 + 1),
    ]
    canvas.drawPath(blob([*upper, *lower]), fill(lips))
    canvas.drawPath(blob([*upper, *reversed(middle)]), fill(dim(lips, 0.84)))
    if smile > 0.45:
        gap = (smile - 0.45) * 10
        edge = [at(wide * 0.5, lift * 0.2 + gap * 0.75), at(0, 1.2 + gap), at(-wide * 0.5, lift * 0.2 + gap * 0.75)]
        canvas.drawPath(blob([left, *middle, right, *edge]), fill((250, 247, 243)))
        canvas.drawPath(curve([left, *reversed(edge), right]), stroke(dim(lips, 0.55), 1.1, 200))
    canvas.drawPath(curve([left, *middle, right]), stroke(dim(lips, 0.4), 1.7, 235))
    x, y = at(0, thick * 0.95 + 1.6)
    canvas.drawOval(oval((x, y), wide * drawing.head.width * 0.34, 1.3), fill((255, 235, 230), 90, blur=1))
    if drawing.person.facial_hair not in ("goatee", "beard"):
        x, y = at(0, thick * 1.35 + 7)
        canvas.drawOval(oval((x, y), wide * drawing.head.width * 0.5, 2.5), fill(drawing.tone(0.55), 60, blur=2.4))
    return [left, right]
