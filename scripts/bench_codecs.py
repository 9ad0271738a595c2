"""What pictures cost on their way in and out: python scripts/bench_codecs.py

CPU milliseconds, medians, one thread: the delivered formats at 1024x1024 through the worker's encoder, and a phone's
photo of 12 megapixels through the decoder's own code to its working size (`outline`: the walk over its segments).
With --heic also HEICs of 12, 24 and 48, once each; to write these takes two minutes. The picture is scikit-image's
astronaut, enlarged, with a camera's noise. A table is printed, and one JSON object as the last line.
"""

import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

import cv2
import numpy as np
import skimage.data
import torch
from PIL import Image

from models.finish.encoding import encode_image
from service.decoders.decoder import load_codecs
from service.decoders.outline import outline
from service.decoders.pixels import read_pixels
from service.decoders.protocol import Decoded, ImageLimits

SIDE = 1024
PHONE = (3024, 4032)
HEICS = {"12mp": PHONE, "24mp": (4284, 5712), "48mp": (6048, 8064)}
NOISE = 3.0  # grey levels


def picture(width: int, height: int) -> np.ndarray:
    """[height, width, 3] uint8."""
    enlarged = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((width, height), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(1).normal(0, NOISE, enlarged.shape)
    return np.clip(enlarged + noise, 0, 255).astype(np.uint8)


def photo(kind: str = "JPEG", size: tuple[int, int] = PHONE, quality: int = 90) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(*size)).save(out, kind, quality=quality)
    return out.getvalue()


def heic_ms(size: tuple[int, int]) -> float:
    """Once: it takes a second and more."""
    upload = photo("HEIF", size, quality=45)
    began = time.process_time()
    assert isinstance(read_pixels(upload, ImageLimits(), ["HEIF"]), Decoded)
    return round((time.process_time() - began) * 1000, 2)


def cpu_ms(call: Callable[[], object], rounds: int) -> float:
    call()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        call()
        taken.append((time.process_time() - began) * 1000)
    return round(statistics.median(taken), 2)


@click.command(help=__doc__)
@click.option("--rounds", default=15, show_default=True)
@click.option("--heic", is_flag=True)
def main(rounds: int, heic: bool) -> None:
    load_codecs(heic=True)
    cv2.setNumThreads(1)  # as the worker has it, and the decoders
    pixels = torch.from_numpy(picture(SIDE, SIDE))
    upload, limits = photo(), ImageLimits()
    decoded = read_pixels(upload, limits, ["JPEG"])
    assert isinstance(decoded, Decoded)
    result: dict[str, float | str] = {
        "jpeg_q90_1024_cpu_ms": cpu_ms(lambda: encode_image(pixels, "jpeg", 90), rounds),
        "webp_q90_1024_cpu_ms": cpu_ms(lambda: encode_image(pixels, "webp", 90), rounds),
        "png_1024_cpu_ms": cpu_ms(lambda: encode_image(pixels, "png", 90), rounds),
        "decode_12mp_jpeg_cpu_ms": cpu_ms(lambda: read_pixels(upload, limits, ["JPEG"]), rounds),
        "outline_12mp_jpeg_cpu_ms": cpu_ms(lambda: outline("JPEG", upload), rounds),
    }
    if heic:
        result |= {f"decode_{name}_heic_cpu_ms": heic_ms(size) for name, size in HEICS.items()}
    for name, value in result.items():
        click.echo(f"{name:26}{value:8.2f}")
    result |= {"photo": f"{len(upload)} bytes, {PHONE[0]}x{PHONE[1]} to {decoded.width}x{decoded.height}"}
    for image_format in ("jpeg", "webp", "png"):
        result[f"{image_format}_bytes"] = len(encode_image(pixels, image_format, 90))
    click.echo(json.dumps(result))


if __name__ == "__main__":
    main()
