"""Neck, shoulders and what they wear."""

from collections.abc import Callable
from dataclasses import dataclass

import skia

from scripts.train_tiny.drawing.head import Head
from scripts.train_tiny.drawing.paint import WHITE, Point, blob, curve, dim, fill, linear, mirrored, mix, shade, stroke
from scripts.train_tiny.drawing.person import DrawnPerson, Rgb
from scripts.train_tiny.drawing.style import COLOURS, DrawnStyle

TOP = 200.0  # where the shoulders begin, canvas pixels


@dataclass(frozen=True, slots=True)
class Torso:
    canvas: skia.Canvas
    middle: float  # x of the neck
    neck: float  # half width
    reach: float  # half width of the shoulders
    colour: Rgb
    skin: Rgb

    def place(self, points: list[Point]) -> list[Point]:
        """From x relative to the middle and y relative to TOP."""
        return [(self.middle + x, TOP + y) for x, y in points]

    def shape(self, points: list[Point], paint: skia.Paint) -> None:
        self.canvas.drawPath(blob(self.place(points)), paint)

    def pair(self, points: list[Point], paint: skia.Paint) -> None:
        """A shape of the right side and its mirror image."""
        self.shape(points, paint)
        self.shape([(-x, y) for x, y in points], paint)

    def line(self, points: list[Point], paint: skia.Paint) -> None:
        self.canvas.drawPath(curve(self.place(points)), paint)

    def skin_opening(self, depth: float, width: float) -> None:
        """The skin that a neckline shows."""
        half = [(width, -14.0), (width * 0.72, depth * 0.5), (width * 0.3, depth * 0.95)]
        top, bottom = TOP - 14, TOP + depth
        self.shape(
            [(0, -16), *half, (0, depth), *((-x, y) for x, y in reversed(half))],
            shade(linear((0, top), (0, bottom), [_shadow(self.skin, 0.76), _shadow(self.skin, 0.97)])),
        )

    @property
    def dark(self) -> Rgb:
        return dim(self.colour, 0.66)

    @property
    def bright(self) -> Rgb:
        return mix(self.colour, WHITE, 0.2)


def draw_torso(canvas: skia.Canvas, person: DrawnPerson, style: DrawnStyle, head: Head) -> None:
    torso = Torso(
        canvas=canvas,
        middle=128 + head.sway * 0.5,
        neck=(19 if person.feminine else 25) + 3 * person.shapes["face_width"],
        reach=80 if person.feminine else 94,
        colour=COLOURS[style.colour],
        skin=person.skin,
    )
    _draw_neck(torso)
    _draw_body(torso)
    _GARMENTS[style.garment](torso)
    chin = (128 + head.sway - torso.neck - 3, 112 + head.height - 10)
    canvas.drawOval(skia.Rect.MakeXYWH(*chin, 2 * torso.neck + 6, 26), fill(_shadow(person.skin, 0.42), 120, blur=5))


def _shadow(skin: Rgb, depth: float) -> Rgb:
    red, green, blue = dim(skin, depth)
    return (red, green * (0.8 + 0.2 * depth), blue * (0.72 + 0.28 * depth))


def _draw_neck(torso: Torso) -> None:
    n = torso.neck
    tones = [_shadow(torso.skin, 0.62), _shadow(torso.skin, 0.86), torso.skin]
    torso.shape(
        [(n, -52), (n, -10), (n + 18, 14), (32, 66), (-32, 66), (-n - 18, 14), (-n, -10), (-n, -52)],
        shade(linear((0, 158), (0, 244), tones)),
    )


def _draw_body(torso: Torso) -> None:
    r, n = torso.reach, torso.neck
    half = [(n + 5, -8.0), (r * 0.62, 6.0), (r, 26.0), (r + 14, 110.0), (r + 16, 320.0)]
    across = linear(
        (torso.middle - r, TOP), (torso.middle + r, TOP + 40),
        [torso.dark, torso.colour, torso.bright, torso.colour, torso.dark],
    )  # fmt: skip
    torso.shape(mirrored(half), shade(across))
    for side in (-1, 1):
        torso.line([(side * r * 0.72, 30), (side * r * 0.62, 70)], stroke(dim(torso.colour, 0.5), 4, 90, blur=3))


def _suit(torso: Torso) -> None:
    tie = (40, 52, 104) if torso.colour[0] > torso.colour[2] + 20 else (150, 36, 46)
    _jacket_over_shirt(torso, (245, 245, 248))
    torso.shape([(-6, 6), (6, 6), (4, 15), (11, 70), (-11, 70), (-4, 15)], fill(tie))
    _shirt_collar(torso, (252, 252, 253))
    _lapels(torso, dim(torso.colour, 0.82))


def _tuxedo(torso: Torso) -> None:
    _jacket_over_shirt(torso, (250, 250, 252))
    _shirt_collar(torso, (253, 253, 253))
    _lapels(torso, (18, 18, 22))
    torso.pair([(0, 11), (15, 4), (16, 19)], fill((14, 14, 18)))


def _blazer(torso: Torso) -> None:
    light: Rgb = (236, 236, 238) if sum(torso.colour) < 560 else (70, 76, 92)
    _jacket_over_shirt(torso, light)
    torso.skin_opening(14, torso.neck + 4)
    _lapels(torso, dim(torso.colour, 0.8))


def _jacket_over_shirt(torso: Torso, shirt: Rgb) -> None:
    n = torso.neck
    torso.shape([(-n - 3, -12), (0, -2), (n + 3, -12), (27, 26), (0, 96), (-27, 26)], fill(shirt))


def _shirt_collar(torso: Torso, colour: Rgb) -> None:
    n = torso.neck
    torso.pair([(n - 1, -17), (n + 9, -6), (12, 16), (3, 4)], fill(colour))
    torso.line([(n + 8, -5), (12, 16), (3, 4)], stroke((150, 150, 158), 1.2, 170))
    torso.line([(-n - 8, -5), (-12, 16), (-3, 4)], stroke((150, 150, 158), 1.2, 170))


def _lapels(torso: Torso, colour: Rgb) -> None:
    n = torso.neck
    outline = [(n + 7, -9), (46, 12), (42, 28), (32, 34), (8, 98), (17, 36)]
    torso.pair(outline, fill(colour))
    for side in (-1, 1):
        torso.line([(side * (n + 7), -8), (side * 17, 36), (side * 7, 96)], stroke(dim(colour, 0.6), 1.4, 200))


def _shirt(torso: Torso) -> None:
    n = torso.neck
    torso.skin_opening(22, n + 1)
    collar = mix(torso.colour, WHITE, 0.26)
    torso.pair([(n, -20), (n + 11, -9), (24, 22), (3, 20), (n - 5, 2)], fill(collar))
    for side in (-1, 1):
        torso.line([(side * (n + 10), -8), (side * 24, 22), (side * 3, 20)], stroke(torso.dark, 1.4, 200))
    torso.line([(0, 22), (0, 60)], stroke(torso.dark, 1.6, 220))
    for k in range(3):
        torso.canvas.drawCircle(torso.middle, TOP + 30 + k * 12, 2.2, fill((246, 246, 246)))


def _t_shirt(torso: Torso) -> None:
    n = torso.neck
    torso.skin_opening(20, n + 10)
    torso.line([(-n - 10, -8), (-17, 15), (0, 21), (17, 15), (n + 10, -8)], stroke(torso.dark, 4))


def _sweater(torso: Torso) -> None:
    n = torso.neck
    torso.skin_opening(11, n + 5)
    torso.line([(-n - 6, -10), (-14, 9), (0, 13), (14, 9), (n + 6, -10)], stroke(dim(torso.colour, 0.8), 9))
    for k in range(-6, 7):
        torso.line([(k * 9, 24), (k * 10, 70)], stroke(torso.dark, 1.6, 95))


def _turtleneck(torso: Torso) -> None:
    n = torso.neck
    roll = linear((torso.middle - n, 0), (torso.middle + n, 0), [torso.dark, torso.bright, torso.dark])
    torso.shape([(-n - 3, -26), (0, -19), (n + 3, -26), (n + 7, 6), (0, 14), (-n - 7, 6)], shade(roll))
    for k in range(-3, 4):
        torso.line([(k * 7, -18), (k * 7.6, 8)], stroke(torso.dark, 1.4, 120))


def _hoodie(torso: Torso) -> None:
    n = torso.neck
    torso.skin_opening(20, n + 5)
    hood = linear((torso.middle, TOP - 20), (torso.middle + 46, TOP + 26), [torso.dark, torso.bright])
    torso.pair([(n + 2, -24), (n + 23, -14), (n + 26, 8), (10, 33), (1, 25), (n - 4, 6)], shade(hood))
    for side in (-1, 1):
        torso.line([(side * 11, 28), (side * 13, 56)], stroke(mix(torso.colour, WHITE, 0.75), 2.8))


def _jacket(torso: Torso) -> None:
    _collared_jacket(torso, shirt=(222, 222, 224), collar=dim(torso.colour, 0.84))
    for side in (-1, 1):
        torso.line([(side * 14, 27), (side * 9, 80)], stroke((196, 198, 204), 2.2))


def _denim_jacket(torso: Torso) -> None:
    """Washed out on the shoulders, sewn with thick thread, over something dark."""
    n, r = torso.neck, torso.reach
    thread: Rgb = (255, 222, 150) if sum(torso.colour) < 470 else (122, 74, 34)
    for side in (-1, 1):
        torso.line([(side * (n + 22), 16), (side * r * 0.78, 34)], stroke(WHITE, 16, 95, blur=4))
    _collared_jacket(torso, shirt=(58, 60, 70), collar=mix(torso.colour, WHITE, 0.25))
    for side in (-1, 1):
        torso.line([(side * (n + 16), -9), (side * 29, 17), (side * 14, 23)], stroke(thread, 2.2))
        torso.line([(side * 31, 20), (side * r * 0.6, 27), (side * (r + 6), 38)], stroke(thread, 2.4))
        torso.line([(side * 17, 30), (side * 11, 80)], stroke(thread, 2.2))


def _collared_jacket(torso: Torso, shirt: Rgb, collar: Rgb) -> None:
    n = torso.neck
    torso.shape([(-n - 3, -12), (0, -4), (n + 3, -12), (17, 30), (8, 90), (-8, 90), (-17, 30)], fill(shirt))
    torso.skin_opening(9, n + 2)
    torso.pair([(n, -22), (n + 18, -10), (32, 18), (13, 26), (n - 3, 2)], fill(collar))


def _coat(torso: Torso) -> None:
    n = torso.neck
    torso.shape([(-n, -12), (0, -4), (n, -12), (14, 30), (0, 84), (-14, 30)], fill((226, 226, 230)))
    torso.skin_opening(8, n)
    torso.pair([(n + 1, -24), (n + 25, -12), (54, 22), (36, 42), (10, 60), (n - 3, 4)], fill(dim(torso.colour, 0.86)))
    for side in (-1, 1):
        torso.line([(side * (n + 3), -20), (side * 34, 40), (side * 10, 60)], stroke(dim(torso.colour, 0.55), 1.6, 200))


def _dress(torso: Torso) -> None:
    torso.skin_opening(36, torso.neck + 28)
    edge = [(-torso.neck - 28, -4), (-30, 26), (0, 38), (30, 26), (torso.neck + 28, -4)]
    torso.line([(float(x), float(y)) for x, y in edge], stroke(torso.bright, 2.6))


_GARMENTS: dict[str, Callable[[Torso], None]] = {
    "suit": _suit,
    "tuxedo": _tuxedo,
    "blazer": _blazer,
    "shirt": _shirt,
    "t-shirt": _t_shirt,
    "sweater": _sweater,
    "turtleneck": _turtleneck,
    "hoodie": _hoodie,
    "jacket": _jacket,
    "denim jacket": _denim_jacket,
    "coat": _coat,
    "dress": _dress,
}
