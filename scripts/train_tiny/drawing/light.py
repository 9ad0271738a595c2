"""Light and art direction: what is laid over a finished drawing."""

from collections.abc import Callable

import cv2
import numpy as np
import skia

from scripts.train_tiny.drawing.paint import linear, radial, shade

SIZE = 256
_ALL = skia.Rect.MakeWH(SIZE, SIZE)
_SOFT, _SCREEN, _OVERLAY = skia.BlendMode.kSoftLight, skia.BlendMode.kScreen, skia.BlendMode.kOverlay


def draw_light(canvas: skia.Canvas, light: str, art: str) -> None:
    """What skia can blend; `grade` does the rest on pixels."""
    wash = _WASHES.get(art) or _WASHES.get(light)
    if wash:
        wash(canvas)


def grade(picture: np.ndarray, art: str) -> np.ndarray:
    """[H, W, 3] uint8 -> the same, in the tones of the art direction."""
    if art == "black and white":
        grey = contrasty(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) / 255, 1.2)
        return _bytes(np.repeat(grey, 3, axis=2))
    if art == "comic":
        # Steps of brightness, not of each channel: those turn skin lilac and green.
        luma = np.maximum(picture.mean(axis=2, dtype=np.float32, keepdims=True), 8)
        steps = np.clip(np.round(luma / 255 * 6) / 6 * 255 / luma, 0.5, 1.6)
        return _bytes(contrasty(picture * (steps * 0.65 + 0.35) / 255, 1.2) + 0.01)
    if art == "cinematic":
        tone = contrasty(picture.astype(np.float32) / 255, 1.2) * 0.95
        luma = tone.mean(axis=2, keepdims=True)
        teal, orange = np.array([-0.16, 0.0, 0.16]), np.array([0.11, 0.01, -0.11])
        # Nothing of the teal is left in black: there it would be the colour of the darkest faces.
        return _bytes(tone * (1 + teal * (1 - luma) * np.minimum(1, 2.5 * luma)) * (1 + orange * luma))
    if art == "minimal":
        return np.clip(picture.astype(np.float32) * 0.82 + 46, 0, 255).astype(np.uint8)
    return picture


def contrasty(shares: np.ndarray, slope: float) -> np.ndarray:
    """Of full brightness, 0..1: steeper by `slope` in the middle; shadows keep 2 - `slope` of themselves at least.

    A straight line about the middle, cut off at black, takes the features out of the darkest faces.
    """
    return shares - (slope - 1) / (2 * np.pi) * np.sin(2 * np.pi * np.clip(shares, 0, 1))


def _bytes(shares: np.ndarray) -> np.ndarray:
    return (np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _warm(canvas: skia.Canvas) -> None:
    canvas.drawRect(_ALL, shade(linear((0, 0), (SIZE, SIZE), [(255, 190, 110), (255, 150, 80)], [90, 50]), blend=_SOFT))


def _natural(canvas: skia.Canvas) -> None:
    canvas.drawRect(_ALL, shade(radial((60, 20), 240, [(255, 255, 246), (255, 255, 246)], [70, 0]), blend=_SCREEN))


def _dramatic(canvas: skia.Canvas) -> None:
    side = linear((70, 0), (230, 0), [(0, 0, 0), (8, 6, 14)], [0, 165])
    canvas.drawRect(_ALL, shade(side))
    canvas.drawRect(_ALL, shade(radial((112, 110), 190, [(0, 0, 0), (0, 0, 0)], [0, 130])))


def _golden(canvas: skia.Canvas) -> None:
    sweep = linear((0, 0), (SIZE, SIZE), [(255, 180, 80), (255, 140, 60)], [150, 70])
    canvas.drawRect(_ALL, shade(sweep, blend=_SOFT))
    glow = radial((30, 40), 230, [(255, 206, 120), (255, 180, 90)], [115, 0])
    canvas.drawRect(_ALL, shade(glow, blend=_SCREEN))


def _neon(canvas: skia.Canvas) -> None:
    canvas.drawRect(_ALL, shade(linear((0, 0), (0, SIZE), [(30, 14, 70), (30, 14, 70)], [70, 70])))
    sides = linear((0, 0), (SIZE, 0), [(255, 30, 160), (120, 40, 200), (0, 220, 255)], [150, 0, 150])
    canvas.drawRect(_ALL, shade(sides, blend=_OVERLAY))
    rims = linear((0, 0), (SIZE, 0), [(255, 30, 160), (0, 0, 0), (0, 220, 255)], [80, 0, 80])
    canvas.drawRect(_ALL, shade(rims, blend=_SCREEN))


def _cinematic(canvas: skia.Canvas) -> None:
    canvas.drawRect(_ALL, shade(radial((118, 106), 200, [(0, 0, 0), (0, 0, 0)], [0, 130])))


_WASHES: dict[str, Callable[[skia.Canvas], None]] = {
    "warm": _warm,
    "natural": _natural,
    "dramatic": _dramatic,
    "golden hour": _golden,
    "neon": _neon,
    "cinematic": _cinematic,
}
