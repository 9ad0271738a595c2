"""Untrusted bytes -> upright 8-bit sRGB pixels, limits first. Runs in a decoder process only: the front never
imports Pillow.

Everything that can be refused is refused by the header (Pillow opens all five formats lazily); memory is saved by
shrinking before anything else is done to the pixels. Facts about Pillow that shaped this file:

* A JPEG's header may promise more pixels than its data holds and still load, so the header is what is judged; a
  HEIC's size may change while it loads, so it is judged again.
* The rows that a cut file has no data for stay as libjpeg (grey) and Pillow's PNG (zeros) began them. libwebp and
  libheif give nothing of a cut file, and a PNG of seven passes gives holes.
* Converting I;16 to L clips instead of scaling. Pixels hidden under alpha 0 are the sender's to choose.
* Its smooth resampling takes as long as decoding a phone's photo; OpenCV's takes an eighth of that.
"""

import contextlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageCms, PngImagePlugin

from service.decoders.content import ACCEPTED, READABLE, name_content
from service.decoders.outline import JPEG_END, Outline, outline
from service.decoders.protocol import Decoded, ImageLimits, Refused

MAX_PROFILE_BYTES = 1_000_000
BACKGROUND = 255  # what shows through transparency: white, as a page would
SINGLE_FRAME_FORMATS = ("PNG", "WEBP", "AVIF")
untyped_cms: Any = ImageCms  # its profiles have no types
untyped_cv2: Any = cv2  # its answers have none
SRGB = untyped_cms.ImageCmsProfile(untyped_cms.createProfile("sRGB"))
COLOURS = Image.fromarray(np.indices((18, 18, 18), np.uint8).reshape(3, 18, -1).transpose(1, 2, 0) * np.uint8(15))

Pixels = npt.NDArray[np.uint8]  # [H, W] or [H, W, channels], in one of Pillow's modes

_ORIENTATION_TAG = 0x0112
_UPRIGHT: dict[int, Callable[[Any], Any]] = {
    2: lambda pixels: untyped_cv2.flip(pixels, 1),
    3: lambda pixels: untyped_cv2.rotate(pixels, untyped_cv2.ROTATE_180),
    4: lambda pixels: untyped_cv2.flip(pixels, 0),
    5: untyped_cv2.transpose,
    6: lambda pixels: untyped_cv2.rotate(pixels, untyped_cv2.ROTATE_90_CLOCKWISE),
    7: lambda pixels: untyped_cv2.rotate(untyped_cv2.transpose(pixels), untyped_cv2.ROTATE_180),
    8: lambda pixels: untyped_cv2.rotate(pixels, untyped_cv2.ROTATE_90_COUNTERCLOCKWISE),
}


class Refusal(Exception):
    """A picture that is not read, with the answer that says why."""

    def __init__(self, code: str, message: str, value: float | str | None = None, limit: float | None = None) -> None:
        super().__init__(code)
        self.answer = Refused(code=code, message=message, value=value, limit=limit)


def read_pixels(
    data: bytes, limits: ImageLimits, formats: list[str], allow: Callable[[float], None] = lambda seconds: None
) -> Decoded | Refused:
    """Never raises: whatever a codec throws becomes one of our own refusals, without its text.

    `allow` is told how much processor time a picture of this size may take from now on, in seconds.
    """
    try:
        return _read(data, limits, formats, allow)
    except Refusal as refusal:
        return refusal.answer
    except MemoryError:
        return Refused(
            code="image_decode_memory",
            message="The picture needs more memory than a decoder may use: scale it down and send it again.",
            limit=limits.decoder_memory_bytes,
        )
    except Exception:  # a codec may raise anything: OSError, SyntaxError, ValueError, KeyError, struct.error, ...
        return Refused(
            code="image_undecodable",
            message="The picture is damaged: open it in a photo app, save it again and send that.",
        )


def _read(data: bytes, limits: ImageLimits, formats: list[str], allow: Callable[[float], None]) -> Decoded:
    kind = check_content(data, formats)
    found = outline(kind, data)
    check_scans(found, limits)
    if found.is_cut and kind == "JPEG":
        data += JPEG_END
    try:
        return _decoded(data, limits, formats, allow, found.is_cut)
    except (Refusal, MemoryError):
        raise
    except Exception:
        if found.is_cut:
            raise truncated() from None
        raise


def _decoded(
    data: bytes, limits: ImageLimits, formats: list[str], allow: Callable[[float], None], is_cut: bool
) -> Decoded:
    with Image.open(BytesIO(data), formats=formats) as image:
        check_size(image.size, limits)
        allow(limits.seconds_for(image.size))
        if image.format in SINGLE_FRAME_FORMATS and getattr(image, "n_frames", 1) > 1:
            raise Refusal("image_animated", "The picture is animated: send a still one.")
        if image.format == "JPEG":
            scale = min(1.0, limits.output_side / max(image.size))
            image.draft(None, (int(image.width * scale), int(image.height * scale)))  # libjpeg halves as it decodes
        is_short = load(image, is_cut)
        check_size(image.size, limits)
        upright = _UPRIGHT.get(orientation(image), lambda pixels: pixels)
        profile = image.info.get("icc_profile")
        whole = with_rows_received(image, limits) if is_short else image
        image = flatten(shrink_roughly(smooth(whole), limits.output_side))
        pixels = shrink(np.asarray(image), limits.output_side)
        rgb = upright(to_srgb(pixels, image.mode, profile))
    return Decoded(width=rgb.shape[1], height=rgb.shape[0], rgb=rgb.tobytes(), truncated=is_short)


def check_content(data: bytes, formats: list[str]) -> str:
    """The kind, by the bytes alone, before any codec sees them. How many there are, the front has checked."""
    kind = name_content(data)
    if kind not in READABLE:
        found = f"This is {kind}." if kind else "This is not a picture that is known here."
        raise Refusal("image_not_recognised", f"{found} Send {ACCEPTED}.", kind)
    if kind == "HEIC" and "HEIF" not in formats:
        raise Refusal("heic_disabled", "HEIC pictures are switched off here: send the photo as a JPEG.", kind)
    return kind


def check_scans(found: Outline, limits: ImageLimits) -> None:
    if found.scans > limits.max_scans:
        scans = f"The JPEG has {found.scans} scans: at most {limits.max_scans} are read."
        raise Refusal("image_too_many_scans", f"{scans} Save it again as a plain JPEG.", found.scans, limits.max_scans)


def truncated() -> Refusal:
    return Refusal("image_truncated", "The picture's file is cut off before its end: send it again, whole.")


def check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    """A picture that would be thinner than `min_side` once shrunk shows no face either."""
    width, height = size
    long, short = max(size), min(size)
    if long > limits.max_side:
        message = f"The picture is {width}x{height} pixels: a side may have at most {limits.max_side}."
        raise Refusal("image_side_too_long", message, long, limits.max_side)
    if width * height > limits.max_pixels:
        message = f"The picture is {width}x{height} pixels: at most {limits.max_pixels} in all are read."
        raise Refusal("image_too_many_pixels", message, width * height, limits.max_pixels)
    if short * min(1.0, limits.output_side / max(long, 1)) < limits.min_side:
        message = f"The picture is {width}x{height} pixels: too small or too narrow to show a face."
        raise Refusal("image_too_small", message, short, limits.min_side)


def load(image: Image.Image, is_cut: bool) -> bool:
    """Whether pixels are missing. Raises what the codec does if it gives none."""
    if is_cut and isinstance(image, PngImagePlugin.PngImageFile) and not image.info.get("interlace"):
        with contextlib.suppress(OSError):
            image.load()
        image.tile = []  # what was read has been read
        return True
    image.load()
    return is_cut and image.format == "JPEG" and ("progressive" in image.info or count_rows(image) < image.height)


def count_rows(image: Image.Image) -> int:
    """Rows from the top down to the last that shows more than a decoder began with."""
    pixels = np.asarray(image)
    is_untouched = pixels == 0 if image.format == "PNG" else np.abs(pixels.astype(np.int16) - 128) <= 1
    rows = np.flatnonzero(~is_untouched.reshape(len(pixels), -1).all(axis=1))
    return int(rows[-1]) + 1 if len(rows) else 0


def with_rows_received(image: Image.Image, limits: ImageLimits) -> Image.Image:
    rows = count_rows(image)
    if rows < limits.min_side:
        raise truncated()
    return image.crop((0, 0, image.width, rows))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where it is absent or unreadable; libheif has already turned what it reads."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF is the sender's: a broken one must not cost the photo
        return 1


def smooth(image: Image.Image) -> Image.Image:
    """In a mode whose neighbours can be mixed."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        return image.point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        return image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    if image.mode in ("1", "P"):
        return image.convert("L" if image.mode == "1" else "RGB")
    return image


def shrink_roughly(image: Image.Image, side: int) -> Image.Image:
    """By a whole number, each pixel the mean of those it replaces: the long side is then `side` to twice that."""
    factor = max(image.size) // side
    return image.reduce(factor) if factor > 1 else image


def flatten(image: Image.Image) -> Image.Image:
    """On a plain background: what alpha hid stays hidden."""
    if image.mode not in ("LA", "RGBA"):
        return image
    flat = Image.new(image.mode[:-1], image.size, BACKGROUND if image.mode == "LA" else (BACKGROUND,) * 3)
    flat.paste(image.convert(flat.mode), mask=image.getchannel("A"))
    return flat


def shrink(pixels: Pixels, side: int) -> Pixels:
    """At most `side` on the long side. From less than twice that: linear interpolation then leaves no pixel out."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return untyped_cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)


def to_srgb(pixels: Pixels, mode: str, profile: bytes | None) -> Pixels:
    """Through the file's ICC profile if it has a usable one (iPhones write Display P3), else as if it were sRGB."""
    transform = transform_of(mode, profile) if profile and len(profile) <= MAX_PROFILE_BYTES else None
    if transform is None and mode == "RGB":
        return pixels
    image = Image.fromarray(pixels, mode)
    if transform is None:
        return np.asarray(image.convert("RGB"))
    return np.asarray(untyped_cms.applyTransform(image.convert(transform.input_mode), transform))


def transform_of(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """None if the profile is of no use or changes nothing."""
    if mode == "L" and profile[16:20] == b"RGB ":  # the space it maps from, ICC.1 §7.2.6
        mode = "RGB"
    try:
        transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(BytesIO(profile)), SRGB, mode, "RGB")
    except Exception:  # garbage is common and harmless: the photo is then a little off in colour
        return None
    return None if mode == "RGB" and is_idle(transform) else transform


def is_idle(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether it changes no colour by more than rounding: what most cameras write is sRGB's own profile, and to send
    a photo through that takes as long as decoding it."""
    moved = ImageChops.difference(COLOURS, untyped_cms.applyTransform(COLOURS, transform))
    return int(np.asarray(moved).max()) <= 1
