"""Scenes without a face, 96 to a few hundred pixels wide: what a face finder must learn to pass over."""

from collections.abc import Callable

import cv2
import numpy as np
import skia
import skimage.data

from scripts.train_tiny.drawing.backgrounds import SIZE as PLACE_SIZE
from scripts.train_tiny.drawing.backgrounds import draw_background
from scripts.train_tiny.drawing.style import draw_style

PLACES = 200
# Photographs that scikit-image ships, with nobody in them. Its other pictures without a face are kept for tests:
# coffee, cat, rocket, horse, retina, moon, cell, logo, colour wheel, page.
PHOTOS: tuple[Callable[[], np.ndarray], ...] = (
    skimage.data.brick, skimage.data.grass, skimage.data.gravel, skimage.data.immunohistochemistry,
    skimage.data.hubble_deep_field, skimage.data.coins, skimage.data.text, skimage.data.clock,
)  # fmt: skip


class Scenery:
    """Places of the portraits, photographs, blotches and loose shapes, drawn anew each time."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._places = [_place(rng) for _ in range(PLACES)]
        self._photos = [_coloured(photo()) for photo in PHOTOS]

    def draw(self, size: int) -> np.ndarray:
        """[size, size, 3] uint8. A third are mirrored within: a face is not the only thing with two equal halves."""
        scene = self._plain(size)
        if self._rng.random() < 0.67:
            return scene
        half = scene[:, : size // 2]
        return np.concatenate([half, half[:, ::-1]], axis=1)

    def _plain(self, size: int) -> np.ndarray:
        kind = self._rng.random()
        if kind < 0.3:
            return self._cut(self._places, size)
        if kind < 0.6:
            return self._cut(self._photos, size)
        scene = _blotches(self._rng, size)
        return scene if kind < 0.75 else _shapes(self._rng, scene)

    def _cut(self, pictures: list[np.ndarray], size: int) -> np.ndarray:
        """A square part of one of them, mirrored or turned by a quarter sometimes."""
        picture = pictures[self._rng.integers(len(pictures))]
        height, width = picture.shape[:2]
        side = int(min(height, width) * self._rng.uniform(0.25, 1.0))
        top, left = self._rng.integers(height - side + 1), self._rng.integers(width - side + 1)
        part = cv2.resize(picture[top : top + side, left : left + side], (size, size), interpolation=cv2.INTER_AREA)
        part = np.rot90(part, int(self._rng.choice((0, 0, 0, 1, 2, 3))))
        return part[:, ::-1] if self._rng.random() < 0.5 else part


def _place(rng: np.random.Generator) -> np.ndarray:
    surface = skia.Surface(PLACE_SIZE, PLACE_SIZE)
    draw_background(surface.getCanvas(), draw_style(rng), rng)
    pixels = surface.toarray(colorType=skia.kRGBA_8888_ColorType)[:, :, :3]
    return cv2.resize(pixels, (128, 128), interpolation=cv2.INTER_AREA)


def _coloured(picture: np.ndarray) -> np.ndarray:
    """Three channels, and no side of more than 400 pixels."""
    if picture.ndim == 2:
        picture = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB)
    scale = min(1.0, 400 / max(picture.shape))
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def _blotches(rng: np.random.Generator, size: int) -> np.ndarray:
    """From one colour over soft gradients to noise, by the number of blotches."""
    cells = int(rng.choice((1, 2, 3, 6, 12, 24, size)))
    colours = rng.uniform(0, 255, 3) + rng.normal(0, rng.uniform(5, 80), (cells, cells, 3))
    return cv2.resize(np.clip(colours, 0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_CUBIC)


def _shapes(rng: np.random.Generator, scene: np.ndarray) -> np.ndarray:
    """Ovals, dots and bars as faces have them, but nowhere in a face's order."""
    scene = np.ascontiguousarray(scene)
    size = scene.shape[0]
    for _ in range(rng.integers(2, 14)):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        middle = (int(rng.uniform(0, size)), int(rng.uniform(0, size)))
        axes = (int(size * rng.uniform(0.01, 0.25)), int(size * rng.uniform(0.01, 0.25)))
        if rng.random() < 0.75:
            cv2.ellipse(scene, middle, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            end = (middle[0] + axes[0] * 2, middle[1] + axes[1] * int(rng.integers(-2, 3)))
            cv2.line(scene, middle, end, colour, int(rng.integers(1, 6)), cv2.LINE_AA)
    return scene
