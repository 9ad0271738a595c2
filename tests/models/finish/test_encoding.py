"""What leaves is the picture that was made, in the format that was asked for, and nothing besides."""

import io

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from models.finish.encoding import PREVIEW_SIDE, encode_image, encode_preview
from models.finish.png import encode_png

PIXELS = skimage.data.astronaut()[:300, :400]  # NASA, public domain; not square, so that sides can't be mixed up


def opened(data):
    return Image.open(io.BytesIO(data))


def test_a_png_is_the_picture_to_the_bit():
    image = opened(encode_image(torch.from_numpy(PIXELS), "png", 90))
    assert (image.format, image.mode) == ("PNG", "RGB")
    assert np.array_equal(np.asarray(image), PIXELS)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (64, 33)])
def test_a_png_of_any_shape_and_of_bytes_that_overflow_is_read_alike_by_two_readers(shape):
    pixels = np.random.default_rng(0).choice(np.array([0, 1, 127, 128, 254, 255], np.uint8), (*shape, 3))
    data = encode_png(pixels)
    assert np.array_equal(np.asarray(opened(data)), pixels)
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert np.array_equal(read[:, :, ::-1], pixels)


def test_a_png_is_smaller_than_its_pixels_and_damage_is_noticed():
    data = encode_png(PIXELS)
    assert len(data) < 0.7 * PIXELS.nbytes
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises((OSError, SyntaxError)):
        opened(bytes(damaged)).load()


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
