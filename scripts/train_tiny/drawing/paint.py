"""Colours, paints and smooth shapes: the few drawing words that the renderer is written in."""

from collections.abc import Sequence

import skia

from scripts.train_tiny.drawing.person import Rgb

Point = tuple[float, float]
WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def dim(colour: Rgb, factor: float) -> Rgb:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def skia_colour(colour: Rgb, alpha: float = 255) -> int:
    red, green, blue, opacity = (int(max(0, min(255, c))) for c in (*colour, alpha))
    return skia.Color(red, green, blue, opacity)


def fill(colour: Rgb, alpha: float = 255, blur: float = 0) -> skia.Paint:
    paint = skia.Paint(AntiAlias=True)
    paint.setColor(skia_colour(colour, alpha))
    return _blurred(paint, blur)


def shade(shader: skia.Shader, blur: float = 0, blend: skia.BlendMode | None = None) -> skia.Paint:
    paint = skia.Paint(AntiAlias=True)
    paint.setShader(shader)
    if blend is not None:
        paint.setBlendMode(blend)
    return _blurred(paint, blur)


def stroke(colour: Rgb, width: float, alpha: float = 255, blur: float = 0) -> skia.Paint:
    paint = fill(colour, alpha, blur)
    paint.setStyle(skia.Paint.kStroke_Style)
    paint.setStrokeWidth(width)
    paint.setStrokeCap(skia.Paint.kRound_Cap)
    paint.setStrokeJoin(skia.Paint.kRound_Join)
    return paint


def linear(start: Point, end: Point, colours: Sequence[Rgb], alphas: Sequence[float] | None = None) -> skia.Shader:
    stops = [skia_colour(c, a) for c, a in zip(colours, alphas or [255.0] * len(colours), strict=True)]
    return skia.GradientShader.MakeLinear([skia.Point(*start), skia.Point(*end)], stops)


def radial(centre: Point, radius: float, colours: Sequence[Rgb], alphas: Sequence[float] | None = None) -> skia.Shader:
    stops = [skia_colour(c, a) for c, a in zip(colours, alphas or [255.0] * len(colours), strict=True)]
    return skia.GradientShader.MakeRadial(skia.Point(*centre), radius, stops)


def oval(centre: Point, width: float, height: float) -> skia.Rect:
    """`width` and `height` are half axes."""
    return skia.Rect.MakeXYWH(centre[0] - width, centre[1] - height, 2 * width, 2 * height)


def blob(points: Sequence[Point]) -> skia.Path:
    """A closed smooth curve through `points` (Catmull-Rom)."""
    n = len(points)
    path = skia.Path()
    path.moveTo(*points[0])
    for i in range(n):
        _bend(path, points[i - 1], points[i], points[(i + 1) % n], points[(i + 2) % n])
    path.close()
    return path


def curve(points: Sequence[Point]) -> skia.Path:
    """An open smooth curve through `points`."""
    last = len(points) - 1
    path = skia.Path()
    path.moveTo(*points[0])
    for i in range(last):
        _bend(path, points[max(i - 1, 0)], points[i], points[i + 1], points[min(i + 2, last)])
    return path


def polygon(points: Sequence[Point]) -> skia.Path:
    path = skia.Path()
    path.moveTo(*points[0])
    for point in points[1:]:
        path.lineTo(*point)
    path.close()
    return path


def mirrored(half: Sequence[Point]) -> list[Point]:
    """A left-right symmetric outline from its right half, listed top to bottom."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def _bend(path: skia.Path, before: Point, start: Point, end: Point, after: Point) -> None:
    pull = 1 / 6
    path.cubicTo(
        start[0] + (end[0] - before[0]) * pull,
        start[1] + (end[1] - before[1]) * pull,
        end[0] - (after[0] - start[0]) * pull,
        end[1] - (after[1] - start[1]) * pull,
        *end,
    )


def _blurred(paint: skia.Paint, blur: float) -> skia.Paint:
    if blur:
        paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
    return paint
