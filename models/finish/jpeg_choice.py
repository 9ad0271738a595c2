"""Who encodes JPEGs: a GPU's nvJPEG, where it is installed and has shown at start that it can; else the CPU."""

import io
import logging
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.finish.jpeg import FINEST_HALVED, ON_CPU, JpegEncoder
from models.finish.nv_image_codec import NvImageCodec

log = logging.getLogger(__name__)

ROUNDS = 5
TEST_SIDE = 1024
LOST_DB = 0.5  # of the CPU's PSNR, at most
LONGER = 1.2  # than the CPU's bytes, at most


def choose_jpeg_encoder(device: torch.device) -> JpegEncoder:
    """The quicker of those that can. On a CPU there is nothing to choose."""
    if device.type != "cuda":
        return ON_CPU
    try:
        candidate = JpegEncoder("nvJPEG", NvImageCodec(device))
    except (ImportError, RuntimeError) as error:
        log.info("JPEGs are encoded on the CPU: nvImageCodec can't run here: %s", type(error).__name__)
        return ON_CPU
    return quicker(candidate, _seconds)


def quicker(candidate: JpegEncoder, seconds_of: Callable[[Callable[[], bytes]], float]) -> JpegEncoder:
    """The candidate, if its JPEGs are as good as the CPU's and come sooner. One that fails later is stood in for."""
    pixels = _test_picture()
    calls = {encoder: lambda encoder=encoder: encoder.encode(pixels, FINEST_HALVED) for encoder in (ON_CPU, candidate)}
    try:
        if not _is_as_good(calls[candidate](), calls[ON_CPU](), pixels):
            log.warning("JPEGs of %s are worse than the CPU's: not used", candidate.name)
            return ON_CPU
        seconds = {encoder: seconds_of(call) for encoder, call in calls.items()}
    except Exception as error:  # a library that was not built for this device says so in many ways
        log.info("JPEGs are encoded on the CPU: %s can't run here: %s", candidate.name, type(error).__name__)
        return ON_CPU
    for encoder, taken in seconds.items():
        log.info("a JPEG of %dx%d by %s: %.2f ms", TEST_SIDE, TEST_SIDE, encoder.name, taken * 1000)
    return _with_stand_in(candidate) if seconds[candidate] < seconds[ON_CPU] else ON_CPU


def _with_stand_in(encoder: JpegEncoder) -> JpegEncoder:
    def encode(pixels: Tensor, quality: int) -> bytes:
        try:
            return encoder.encode(pixels, quality)
        except Exception as error:  # such as no memory left on the device: the picture is made, and must not be lost
            log.warning("%s failed with %s: the CPU encodes this picture", encoder.name, type(error).__name__)
            return ON_CPU.encode(pixels, quality)

    return JpegEncoder(encoder.name, encode)


def _is_as_good(data: bytes, by_cpu: bytes, pixels: Tensor) -> bool:
    return _psnr(data, pixels) >= _psnr(by_cpu, pixels) - LOST_DB and len(data) <= LONGER * len(by_cpu)


def _psnr(data: bytes, pixels: Tensor) -> float:
    """dB; 0 for a picture of another size."""
    decoded = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
    if decoded.shape != tuple(pixels.shape):
        return 0.0
    return float(10 * np.log10(255**2 / max(float(np.square(decoded - pixels.numpy()).mean()), 1e-6)))


def _test_picture() -> Tensor:
    """Soft shapes and a camera's noise, as a portrait has."""
    generator = torch.Generator().manual_seed(1)
    shapes = torch.rand(1, 3, 16, 16, generator=generator) * 255
    soft = torch.nn.functional.interpolate(shapes, (TEST_SIDE, TEST_SIDE), mode="bicubic")
    noisy = soft + torch.randn(soft.shape, generator=generator) * 3
    return noisy.clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).contiguous()


def _seconds(call: Callable[[], bytes]) -> float:
    """The best of some, the first left out."""
    call()
    taken: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return min(taken)
