"""Hair in two layers: what hangs behind the head and what lies over the forehead."""

import math
from dataclasses import dataclass

import numpy as np
import skia

from scripts.train_tiny.drawing.head import CENTRE, Head
from scripts.train_tiny.drawing.paint import (
    WHITE,
    Point,
    blob,
    curve,
    dim,
    fill,
    linear,
    mirrored,
    mix,
    radial,
    shade,
    stroke,
)
from scripts.train_tiny.drawing.person import DrawnPerson, Rgb

CX, CY = CENTRE


@dataclass(frozen=True, slots=True)
class Barber:
    canvas: skia.Canvas
    person: DrawnPerson
    head: Head
    rng: np.random.Generator  # seeded by the person: the same strands in every picture
    inked: bool

    @property
    def dark(self) -> Rgb:
        return dim(self.person.hair_rgb, 0.6)

    @property
    def bright(self) -> Rgb:
        return mix(self.person.hair_rgb, (255, 244, 224), 0.28)

    def strands(self, path: skia.Path, number: int, wave: float = 0, alpha: float = 85) -> None:
        """Fine lines from crown to tips, clipped to `path`."""
        box = path.getBounds()
        self.canvas.save()
        self.canvas.clipPath(path, True)
        for i in range(number):
            x = box.left() + box.width() * (i + self.rng.random() * 0.8) / number
            bend = (x - CX) * 0.2
            points = [
                (x + bend * math.sin(t * 1.7) + wave * math.sin(t * 9 + i * 0.7), box.top() + box.height() * t)
                for t in (0, 0.25, 0.5, 0.75, 1)
            ]
            self.canvas.drawPath(curve(points), stroke(mix(self.dark, self.bright, self.rng.random()), 1.6, alpha))
        self.canvas.restore()

    def curl(self, x: float, y: float, radius: float) -> None:
        """One ball of curly hair, lit from the upper left."""
        middle = mix(self.dark, self.person.hair_rgb, self.rng.uniform(0.4, 1))
        lit = (x - radius * 0.35, y - radius * 0.4)
        tones = [mix(middle, self.bright, 0.55), middle, dim(middle, 0.7)]
        self.canvas.drawCircle(x, y, radius, shade(radial(lit, radius * 1.3, tones), blur=0.8))


def draw_back_hair(barber: Barber) -> None:
    hair, head = barber.person.hair, barber.head
    if hair in ("long", "wavy", "swept", "bob"):
        _curtain(barber, {"long": 240.0, "wavy": 238.0, "swept": 212.0, "bob": 178.0}[hair])
    elif hair == "afro":
        for angle in np.linspace(-0.12, math.pi + 0.12, 30):
            ring = head.width + 24 + barber.rng.uniform(-3, 4)
            x = CX + head.sway * 0.4 - math.cos(angle) * ring
            barber.curl(x, CY - 12 - math.sin(angle) * (ring + 12), barber.rng.uniform(13, 17))
        halo = skia.Rect.MakeXYWH(CX - head.width - 22, CY - head.width - 34, 2 * head.width + 44, 2 * head.width + 40)
        barber.canvas.drawOval(halo, fill(dim(barber.person.hair_rgb, 0.72)))
    elif hair == "bun":
        x, y = CX + head.sway * 0.5, CY - head.height - 17
        tones = [barber.bright, barber.person.hair_rgb, barber.dark]
        barber.canvas.drawCircle(x, y, 21, shade(radial((x - 6, y - 7), 28, tones)))


def _curtain(barber: Barber, bottom: float) -> None:
    head, wave = barber.head, 6.0 if barber.person.hair == "wavy" else 0.0
    reach, x = head.width + 14, head.sway * 0.35
    half = [
        (x, -head.height - 16), (x + reach * 0.72, -head.height * 0.86), (x + reach, -10), (x + reach + 2 + wave, 42),
        (x + reach + 3 - wave, (bottom - CY) * 0.66), (x + reach - 6 + wave, bottom - CY - 4), (x + 26, bottom - CY),
    ]  # fmt: skip
    outline = [*half, *((2 * x - px, py) for px, py in reversed(half[1:]))]
    path = blob([(CX + px, CY + py) for px, py in outline])
    tones = [barber.person.hair_rgb, barber.dark, dim(barber.person.hair_rgb, 0.5)]
    barber.canvas.drawPath(path, shade(linear((0, 60), (0, bottom), tones)))
    barber.strands(path, 26, 3 if wave else 0, 110)
    _ink(barber, path)


# The front of each cut: (outer edge from the right ear over the crown to the left, hairline from left to right), in
# half widths and half heights of the face. `parting` mirrors the asymmetrical ones.
_HALF_CROWN: dict[str, list[Point]] = {
    "side part": [(1.05, 0.0), (1.08, -0.45), (0.74, -1.03), (0.0, -1.18)],
    "quiff": [(1.0, -0.02), (1.05, -0.46), (0.86, -1.1), (0.28, -1.42)],
    "bob": [(1.02, 0.5), (1.16, 0.1), (1.13, -0.46), (0.72, -1.06), (0.0, -1.2)],
    "swept": [(1.06, 0.55), (1.15, 0.1), (1.12, -0.46), (0.72, -1.08), (0.0, -1.22)],
    "bun": [(1.02, 0.0), (1.04, -0.46), (0.68, -1.02), (0.0, -1.13)],
    "buzz": [(1.0, -0.06), (1.02, -0.42), (0.68, -0.94), (0.0, -1.06)],
}
_HAIRLINE: dict[str, list[Point]] = {
    "side part": [(-0.97, 0), (-0.9, -0.36), (-0.5, -0.5), (0, -0.56), (0.45, -0.68), (0.86, -0.42), (0.97, 0)],
    "quiff": [(-0.96, 0), (-0.84, -0.44), (-0.62, -0.62), (0, -0.66), (0.62, -0.62), (0.84, -0.44), (0.96, 0)],
    "bob": [(-0.93, 0.5), (-0.95, 0.05), (-0.84, -0.24), (-0.45, -0.3), (0, -0.33), (0.45, -0.3), (0.84, -0.24),
            (0.95, 0.05), (0.93, 0.5)],
    "swept": [(-0.97, 0.55), (-0.97, 0.1), (-0.9, -0.12), (-0.5, -0.36), (0.1, -0.6), (0.52, -0.78), (0.86, -0.4),
              (0.97, 0.1), (0.97, 0.55)],
    "bun": [(-0.97, 0), (-0.86, -0.42), (-0.5, -0.66), (0, -0.72), (0.5, -0.66), (0.86, -0.42), (0.97, 0)],
    "buzz": [(-0.94, -0.1), (-0.84, -0.44), (-0.55, -0.62), (0, -0.65), (0.55, -0.62), (0.84, -0.44), (0.94, -0.1)],
}  # fmt: skip


def draw_front_hair(barber: Barber) -> None:
    hair = barber.person.hair
    if hair == "bald":
        x, y = barber.head.at(-0.3, -0.72)
        barber.canvas.drawOval(skia.Rect.MakeXYWH(x - 18, y - 7, 36, 13), fill(WHITE, 85, blur=5))
    elif hair == "messy":
        _messy(barber)
    elif hair in ("long", "wavy"):
        _middle_parting(barber)
    elif hair in ("afro", "curly top"):
        _curls(barber)
    else:
        half = _HALF_CROWN[hair]
        hairline = _HAIRLINE[hair]
        if hair in ("side part", "swept") and barber.person.parting < 0:
            hairline = [(-x, y) for x, y in reversed(hairline)]
        crown = mirrored(half) if hair == "quiff" else mirrored(half)[: len(half)] + mirrored(half)[len(half) + 1 :]
        path = _cap(barber, crown, hairline)
        if hair == "buzz":
            tone = mix(barber.person.hair_rgb, barber.person.skin, 0.18)
            barber.canvas.drawPath(path, fill(tone, 225, blur=1.4))
            return
        _fill_cap(barber, path, 24, 2 if hair == "quiff" else 0)
        if hair == "side part":
            side = barber.person.parting
            line = [barber.head.at(side * 0.46, -0.66, 0.4), barber.head.at(side * 0.34, -1.04, 0.1)]
            barber.canvas.drawPath(curve(line), stroke(dim(barber.dark, 0.7), 2, 190))


def _cap(barber: Barber, crown: list[Point], hairline: list[Point]) -> skia.Path:
    outer = [barber.head.at(x, y, 0.0 if abs(x) > 0.9 else 0.1) for x, y in crown]
    inner = [barber.head.at(x, y, 0.62 * math.sqrt(max(0.0, 1 - (x / 1.1) ** 2))) for x, y in hairline]
    return blob([*outer, *inner])


def _fill_cap(barber: Barber, path: skia.Path, strands: int, wave: float = 0) -> None:
    height = barber.head.height
    tones = [barber.bright, barber.person.hair_rgb, barber.dark]
    barber.canvas.drawPath(path, shade(linear((0, CY - height - 16), (0, CY + height * 0.15), tones)))
    barber.strands(path, strands, wave)
    x, y = barber.head.at(-0.22, -0.88, 0.2)
    barber.canvas.save()
    barber.canvas.clipPath(path, True)
    shine = curve([(x - 30, y + 8), (x, y - 1), (x + 34, y + 9)])
    barber.canvas.drawPath(shine, stroke(mix(barber.person.hair_rgb, WHITE, 0.55), 8, 90, blur=4))
    barber.canvas.restore()
    _ink(barber, path)


def _middle_parting(barber: Barber) -> None:
    wavy = barber.person.hair == "wavy"
    bulge = 0.1 if wavy else 0.0
    for side in (-1, 1):
        crown = [(0.0, -1.2), (0.72, -1.06), (1.13, -0.42), (1.16 + bulge, 0.3), (1.12 - bulge, 0.85)]
        hairline = [(0.99 - bulge, 0.85), (0.99 + bulge * 0.4, 0.3), (0.9, -0.18), (0.54, -0.58), (0.0, -0.76)]
        path = _cap(barber, [(side * x, y) for x, y in crown], [(side * x, y) for x, y in hairline])
        _fill_cap(barber, path, 13, 2 if wavy else 0)


def _messy(barber: Barber) -> None:
    crown = []
    for k in range(19):
        angle, reach = math.pi * k / 18, 1.1 if k % 2 == 0 else 1.26 + 0.08 * barber.rng.random()
        crown.append((math.cos(angle) * reach * 0.98, -0.12 - math.sin(angle) * reach * 0.88))
    hairline = [
        (-0.97, -0.04), (-0.8, -0.36), (-0.6, -0.3), (-0.42, -0.52), (-0.18, -0.34), (0.08, -0.54), (0.34, -0.36),
        (0.56, -0.54), (0.8, -0.36), (0.97, -0.04),
    ]  # fmt: skip
    _fill_cap(barber, _cap(barber, crown, hairline), 24)


def _curls(barber: Barber) -> None:
    """Rows of balls from the hairline up to the crown."""
    top = 1.34 if barber.person.hair == "afro" else 1.16
    for row in range(5):
        share = row / 4
        y = -top + (top - 0.56) * share
        reach = (1.02 if barber.person.hair == "afro" else 0.94) * math.sqrt(
            max(0.1, 1 - ((y + 0.3) / (top - 0.2)) ** 2)
        )
        for x in np.linspace(-reach, reach, 8):
            dip = 0.16 * (x / reach) ** 2
            px, py = barber.head.at(float(x), y + dip + barber.rng.uniform(-0.04, 0.04), 0.1 + 0.4 * share)
            barber.curl(px, py, barber.rng.uniform(8, 11))
    for side in (-1, 1):
        for y in (-0.42, -0.28, -0.14):
            px, py = barber.head.at(side * 0.99, y, 0.05)
            barber.curl(px, py, barber.rng.uniform(6, 8))


def _ink(barber: Barber, path: skia.Path) -> None:
    if barber.inked:
        barber.canvas.drawPath(path, stroke((26, 18, 22), 2.2, 235))
