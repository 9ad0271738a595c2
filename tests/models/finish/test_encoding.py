"""What leaves is the picture that was made, in the format that was asked for, and nothing besides."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from models.finish.encoding import PREVIEW_SIDE, encode_image, encode_preview

PIXELS = skimage.data.astronaut()[:300, :400]  # NASA, public domain; not square, so that sides can't be mixed up


def opened(data):
    return Image.open(io.BytesIO(data))


def test_a_png_is_the_picture_to_the_bit():
    image = opened(encode_image(torch.from_numpy(PIXELS), "png", 90))
    assert image.format == "PNG"
    assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_a_lossy_picture_is_close_and_closer_at_a_higher_quality(image_format):
    apart = []
    for quality in (50, 90, 100):
        image = opened(encode_image(torch.from_numpy(PIXELS), image_format, quality))
        assert (image.format, image.mode, image.size) == (image_format.upper(), "RGB", (400, 300))
        apart.append(np.abs(np.asarray(image).astype(int) - PIXELS).mean())
    assert apart == sorted(apart, reverse=True)
    assert apart[1] < 3


@pytest.mark.parametrize("image_format", ["jpeg", "webp", "png"])
def test_nothing_but_pixels_is_in_the_file(image_format):
    image = opened(encode_image(torch.from_numpy(PIXELS), image_format, 90))
    assert not image.getexif()
    assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background", "timestamp"}


def test_a_preview_is_small():
    image = opened(encode_preview(torch.from_numpy(PIXELS)))
    assert image.format == "JPEG"
    assert image.size == (PREVIEW_SIDE, PREVIEW_SIDE * 3 // 4)
