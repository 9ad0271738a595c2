"""Beard, goatee, moustache and stubble."""

from scripts.train_tiny.drawing.paint import WHITE, Point, blob, dim, fill, linear, mix, shade, stroke
from scripts.train_tiny.drawing.sitter import MOUTH_LINE, Sitter


def draw_beard(sitter: Sitter) -> None:
    kind = sitter.person.facial_hair
    inner = [(0.86, 0.28), (0.62, 0.5), (0.3, 0.5), (0, 0.465), (-0.3, 0.5), (-0.62, 0.5), (-0.86, 0.28)]
    jaw = sitter.jaw
    half = [(1.0, 0.1), (1.0, 0.46), (jaw + 0.08, 0.76), (0.42, 1.02), (0.0, 1.08)]
    outer = [*((-x, y) for x, y in half[:-1]), *reversed(half)]
    points = [sitter.head.at(x, y, 0.35 if y > 0.7 else None) for x, y in outer] + sitter.head.surface(inner)
    shape = blob(points)
    if kind == "stubble":
        sitter.canvas.drawPath(shape, fill(mix(sitter.beard_rgb, sitter.skin, 0.25), 120, blur=3))
    if kind != "beard":
        return
    top, bottom = sitter.head.at(0, 0.2), sitter.head.at(0, 1.1)
    tones = [sitter.beard_rgb, dim(sitter.beard_rgb, 0.75)]
    sitter.canvas.drawPath(shape, shade(linear(top, bottom, tones), blur=1))
    sitter.canvas.save()
    sitter.canvas.clipPath(shape, True)
    for x, y in sitter.rng.uniform((-1, 0.2), (1, 1.0), (34, 2)):
        px, py = sitter.head.at(float(x), float(y))
        hair = mix(dim(sitter.beard_rgb, 0.7), mix(sitter.beard_rgb, WHITE, 0.25), sitter.rng.random())
        sitter.canvas.drawLine(px, py, px + 2 * float(x), py + 9, stroke(hair, 1.4, 90))
    sitter.canvas.restore()


def draw_moustache(sitter: Sitter) -> None:
    kind, wide = sitter.person.facial_hair, sitter.mouth_width
    if kind not in ("moustache", "goatee", "beard"):
        return

    def at(x: float, dy: float) -> Point:
        px, py = sitter.head.at(x * wide, MOUTH_LINE, 0.93)
        return (px, py + dy)

    lip = [(-1.2, 1), (-0.7, -8.4), (0, -9.6), (0.7, -8.4), (1.2, 1), (0.6, -2.2), (0, -3.0), (-0.6, -2.2)]
    sitter.canvas.drawPath(blob([at(x, dy) for x, dy in lip]), fill(dim(sitter.beard_rgb, 0.9), 250, blur=0.7))
    if kind == "goatee":
        drop = 0.36 * sitter.head.height
        chin = [(-0.85, 11), (0, 12.5), (0.85, 11), (0.6, drop * 0.9), (0, drop * 1.08), (-0.6, drop * 0.9)]
        sitter.canvas.drawPath(blob([at(x, dy) for x, dy in chin]), fill(sitter.beard_rgb, 250, blur=1))
