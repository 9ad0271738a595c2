"""What is behind the person, each place a few soft shapes: out of focus, so that the portrait stays in front."""

from collections.abc import Callable

import numpy as np
import skia

from scripts.train_tiny.drawing.paint import WHITE, blob, dim, fill, linear, mix, polygon, radial, shade, stroke
from scripts.train_tiny.drawing.person import Rgb
from scripts.train_tiny.drawing.style import BACKDROPS, DrawnStyle

SIZE = 256
_ALL = skia.Rect.MakeWH(SIZE, SIZE)


def draw_background(canvas: skia.Canvas, style: DrawnStyle, rng: np.random.Generator) -> None:
    _PLACES[style.place](canvas, BACKDROPS[style.backdrop], rng)


def _sky(canvas: skia.Canvas, *colours: Rgb) -> None:
    canvas.drawRect(_ALL, shade(linear((0, 0), (0, SIZE), colours)))


def _studio(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    canvas.drawRect(_ALL, shade(radial((120, 96), 200, [mix(colour, WHITE, 0.28), dim(colour, 0.74)])))


def _bokeh(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    canvas.drawRect(_ALL, shade(linear((0, 0), (SIZE, SIZE), [dim(colour, 0.7), dim(colour, 0.34)])))
    _lights(canvas, rng, [mix(colour, WHITE, share) for share in (0.3, 0.5, 0.75)], 20)


def _lights(canvas: skia.Canvas, rng: np.random.Generator, colours: list[Rgb], number: int) -> None:
    """Always the same ones, a little elsewhere: the mean of lights that are anywhere is haze."""
    usual, (right, down) = np.random.default_rng(number), rng.uniform(-8, 8, 2)
    for _ in range(number):
        colour = colours[usual.integers(len(colours))]
        x, y, radius = usual.uniform(0, SIZE), usual.uniform(0, 200), usual.uniform(8, 20)
        canvas.drawCircle(x + right, y + down, radius, fill(colour, usual.uniform(70, 140), blur=1.5))


def _office(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (216, 222, 228), (184, 192, 202), (140, 146, 156))
    offset = rng.uniform(-24, 24)
    for x in (-70, 14, 174):
        window = skia.Rect.MakeXYWH(x + offset, 14, 72, 150)
        canvas.drawRect(window, shade(linear((0, 14), (0, 164), [(232, 243, 252), (190, 212, 230)]), blur=1.5))
        canvas.drawLine(x + offset + 36, 14, x + offset + 36, 164, stroke((150, 158, 168), 3, blur=1))
    canvas.drawRect(skia.Rect.MakeXYWH(0, 196, SIZE, 60), fill((150, 116, 84), blur=3))
    canvas.drawRect(skia.Rect.MakeXYWH(196 + offset / 2, 150, 20, 48), fill((84, 132, 92), 220, blur=5))


def _library(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (74, 50, 34), (52, 34, 24))
    spines: list[Rgb] = [(142, 52, 44), (52, 84, 112), (180, 144, 84), (64, 100, 72), (112, 72, 104), (196, 178, 148)]
    for shelf in range(5):
        top, x = shelf * 52 - 6, -4.0
        while x < SIZE:
            width, height = rng.uniform(9, 17), rng.uniform(34, 43)
            book = skia.Rect.MakeXYWH(x, top + 44 - height, width - 1.5, height)
            canvas.drawRect(book, fill(dim(spines[rng.integers(len(spines))], rng.uniform(0.75, 1.05)), blur=0.8))
            x += width
        canvas.drawRect(skia.Rect.MakeXYWH(0, top + 44, SIZE, 7), fill((112, 76, 48), blur=0.8))


def _brick(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    canvas.drawRect(_ALL, fill((182, 158, 146)))
    for row in range(14):
        for column in range(-1, 8):
            brick = skia.Rect.MakeXYWH(column * 40 + (row % 2) * 20 + 1, row * 19 + 1, 38, 17)
            canvas.drawRect(brick, fill(dim((170, 88, 68), rng.uniform(0.84, 1.1)), blur=0.7))
    canvas.drawRect(_ALL, shade(radial((128, 90), 230, [(0, 0, 0), (0, 0, 0)], [0, 90])))


def _cafe(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (92, 62, 44), (120, 80, 54), (66, 42, 32))
    canvas.drawRect(skia.Rect.MakeXYWH(0, 150, SIZE, 14), fill((160, 110, 70), blur=3))
    _lights(canvas, rng, [(255, 208, 130), (255, 228, 180), (240, 160, 90)], 14)


def _forest(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (182, 214, 168), (100, 152, 98), (44, 82, 54))
    greens: tuple[Rgb, Rgb] = ((74, 124, 82), (38, 84, 56))
    for layer, green in enumerate(greens):
        for i in range(9):
            x, height = i * 32 + rng.uniform(-10, 10), rng.uniform(130, 215) - layer * 20
            tree = polygon([(x, 248 - height), (x - 25, 248), (x + 25, 248)])
            canvas.drawPath(tree, fill(green, 190 + 50 * layer, blur=1.2))


def _park(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (168, 208, 238), (214, 232, 220), (150, 192, 112))
    for i in range(9):
        x, y = i * 32 + rng.uniform(-8, 8), rng.uniform(80, 130)
        canvas.drawRect(skia.Rect.MakeXYWH(x - 4, y, 8, 90), fill((108, 82, 60), blur=2))
        green = mix((84, 142, 70), (150, 186, 84), rng.random())
        canvas.drawOval(skia.Rect.MakeXYWH(x - 30, y - 42, 60, 70), fill(green, 235, blur=5))
    canvas.drawRect(
        skia.Rect.MakeXYWH(0, 172, SIZE, 90), shade(linear((0, 172), (0, 256), [(142, 186, 92), (92, 146, 66)]))
    )


def _garden(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (150, 190, 110), (96, 150, 80), (70, 120, 62))
    flowers: list[Rgb] = [(240, 120, 160), (250, 214, 90), (246, 246, 240), (206, 70, 84), (170, 120, 210)]
    for _ in range(46):
        x, y = rng.uniform(0, SIZE), rng.uniform(20, SIZE)
        canvas.drawCircle(x, y, rng.uniform(4, 10), fill(flowers[rng.integers(len(flowers))], 225, blur=1.5))


def _mountains(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (118, 172, 226), (196, 220, 240), (220, 230, 236))
    ridges: tuple[tuple[Rgb, float], ...] = (((150, 170, 196), 70), ((104, 126, 150), 110), ((74, 104, 88), 160))
    for tint, top in ridges:
        peaks = [(x, top + rng.uniform(-14, 44)) for x in range(-20, 300, 44)]
        canvas.drawPath(polygon([*peaks, (300, 260), (-20, 260)]), fill(tint, blur=1))


def _beach(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (112, 190, 240), (190, 226, 246), (200, 236, 240))
    sea = linear((0, 126), (0, 188), [(38, 140, 186), (96, 204, 210)])
    canvas.drawRect(skia.Rect.MakeXYWH(0, 126, SIZE, 64), shade(sea))
    canvas.drawPath(
        blob([(-20, 188), (70, 180), (160, 190), (280, 178), (280, 290), (-20, 290)]), fill((240, 216, 166))
    )
    for _ in range(3):
        x, y = rng.uniform(10, 246), rng.uniform(18, 64)
        for k in range(3):
            canvas.drawOval(skia.Rect.MakeXYWH(x - 22 + k * 14, y - 7, 28, 15), fill(WHITE, 190, blur=4))


def _city(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (152, 186, 220), (216, 224, 232))
    _towers(canvas, rng, ((154, 168, 190), (102, 116, 144)), (196, 210, 224))


def _city_at_night(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (14, 16, 44), (44, 34, 88), (92, 52, 116))
    _towers(canvas, rng, ((36, 34, 70), (22, 22, 46)), (250, 214, 130))
    _lights(canvas, rng, [(255, 60, 170), (60, 220, 255), (255, 200, 90)], 8)


def _towers(canvas: skia.Canvas, rng: np.random.Generator, tints: tuple[Rgb, Rgb], window: Rgb) -> None:
    """One skyline, a little further left or right: the mean of many is a grey sky."""
    usual, left = np.random.default_rng(1), rng.uniform(10, 26)
    for layer, tint in enumerate(tints):
        x = -left
        while x < SIZE:
            width, height = usual.uniform(22, 40), usual.uniform(120, 220) - layer * 50
            canvas.drawRect(skia.Rect.MakeXYWH(x, SIZE - height, width, height), fill(tint, blur=0.8))
            for wy in range(int(SIZE - height) + 9, SIZE, 15) if layer else ():
                for wx in range(int(x) + 5, int(x + width) - 6, 10):
                    canvas.drawRect(skia.Rect.MakeXYWH(wx, wy, 5, 7), fill(window, 200))
            x += width + 2


def _snow(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (150, 176, 208), (206, 220, 234), (240, 245, 250))
    hills = [(-20, 190), (40, 130), (92, 184), (150, 120), (214, 180), (280, 134), (280, 290), (-20, 290)]
    canvas.drawPath(blob(hills), fill((236, 243, 250)))
    for _ in range(44):
        canvas.drawCircle(rng.uniform(0, SIZE), rng.uniform(0, SIZE), rng.uniform(1.5, 3.4), fill(WHITE, 225, blur=0.7))


def _sunset(canvas: skia.Canvas, colour: Rgb, rng: np.random.Generator) -> None:
    _sky(canvas, (74, 54, 122), (222, 98, 98), (255, 184, 98), (255, 220, 150))
    x = rng.uniform(30, 226)
    canvas.drawCircle(x, 150, 50, fill((255, 222, 150), 90, blur=16))
    canvas.drawCircle(x, 150, 28, fill((255, 240, 190), 235, blur=3))
    hills = [(-20, 200), (40, 188), (110, 198), (180, 184), (280, 198), (280, 280), (-20, 280)]
    canvas.drawPath(blob(hills), fill((92, 52, 84)))


_PLACES: dict[str, Callable[[skia.Canvas, Rgb, np.random.Generator], None]] = {
    "studio": _studio,
    "bokeh": _bokeh,
    "office": _office,
    "library": _library,
    "brick wall": _brick,
    "cafe": _cafe,
    "forest": _forest,
    "park": _park,
    "garden": _garden,
    "mountains": _mountains,
    "beach": _beach,
    "city": _city,
    "city at night": _city_at_night,
    "snow": _snow,
    "sunset": _sunset,
}
