"""Untrusted bytes -> upright 8-bit sRGB pixels, limits first. Runs in a decoder process only: the front never
imports Pillow.

Everything that can be refused is refused by the header (Pillow opens all five formats lazily); memory is saved by
shrinking before anything else is done to the pixels. Facts about Pillow that shaped this file:

* `formats=["MPO"]` is a KeyError, yet phones' JPEGs open as MPO: their first frame is the photo.
* A JPEG's header may promise more pixels than its data holds and still load, so the header is what is judged; a
  HEIC's size may change while it loads, so it is judged again.
* Converting I;16 to L clips instead of scaling. Pixels hidden under alpha 0 are the sender's to choose.
"""

from io import BytesIO
from typing import Any

from PIL import Image, ImageCms

from service.content import ACCEPTED, READABLE, name_content
from service.decoding import Decoded, ImageLimits, Refused

MAX_PROFILE_BYTES = 1_000_000
BACKGROUND = 255  # what shows through transparency: white, as a page would
SINGLE_FRAME_FORMATS = ("PNG", "WEBP", "AVIF")
untyped_cms: Any = ImageCms  # its profiles have no types
SRGB = untyped_cms.ImageCmsProfile(untyped_cms.createProfile("sRGB"))

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Refusal(Exception):
    """A picture that is not read, with the answer that says why."""

    def __init__(self, code: str, message: str, value: float | str | None = None, limit: float | None = None) -> None:
        super().__init__(code)
        self.answer = Refused(code=code, message=message, value=value, limit=limit)


def read_pixels(data: bytes, limits: ImageLimits, formats: list[str]) -> Decoded | Refused:
    """Never raises: whatever a codec throws becomes one of our own refusals, without its text."""
    try:
        return _read(data, limits, formats)
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
            message="The picture is damaged or cut off: open it in a photo app, save it again and send that.",
        )


def _read(data: bytes, limits: ImageLimits, formats: list[str]) -> Decoded:
    check_content(data, limits, formats)
    with Image.open(BytesIO(data), formats=formats) as image:
        check_size(image.size, limits)
        if image.format in SINGLE_FRAME_FORMATS and getattr(image, "n_frames", 1) > 1:
            raise Refusal("image_animated", "The picture is animated: send a still one.")
        if image.format in ("JPEG", "MPO"):
            scale = min(1.0, limits.output_side / max(image.size))
            image.draft(None, (int(image.width * scale), int(image.height * scale)))  # libjpeg halves as it decodes
        image.load()
        check_size(image.size, limits)
        upright = _UPRIGHT.get(orientation(image))
        profile = image.info.get("icc_profile")
        rgb = to_srgb(flatten(shrink(image, limits.output_side)), profile)
    if upright is not None:
        rgb = rgb.transpose(upright)
    return Decoded(width=rgb.width, height=rgb.height, rgb=rgb.tobytes())


def check_content(data: bytes, limits: ImageLimits, formats: list[str]) -> None:
    """By the bytes alone, before any codec sees them. How many there are, the front has checked."""
    kind = name_content(data)
    if kind not in READABLE:
        found = f"This is {kind}." if kind else "This is not a picture that is known here."
        raise Refusal("image_not_recognised", f"{found} Send {ACCEPTED}.", kind)
    if kind == "HEIC" and "HEIF" not in formats:
        raise Refusal("heic_disabled", "HEIC pictures are switched off here: send the photo as a JPEG.", kind)
    scans = data.count(b"\xff\xda") if kind == "JPEG" else 0
    if scans > limits.max_scans:
        message = f"The JPEG has {scans} scans: at most {limits.max_scans} are read. Save it again as a plain JPEG."
        raise Refusal("image_too_many_scans", message, scans, limits.max_scans)


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


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where it is absent or unreadable; libheif has already turned what it reads."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF is the sender's: a broken one must not cost the photo
        return 1


def shrink(image: Image.Image, side: int) -> Image.Image:
    """In a mode that can be resampled smoothly, at most `side` on the long side."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    elif image.has_transparency_data and image.mode not in ("LA", "RGBA"):
        image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    image.thumbnail((side, side), Image.Resampling.HAMMING, reducing_gap=2.0)  # Lanczos takes twice as long
    return image


def flatten(image: Image.Image) -> Image.Image:
    """On a plain background: what alpha hid stays hidden."""
    if image.mode not in ("LA", "RGBA"):
        return image
    flat = Image.new(image.mode[:-1], image.size, BACKGROUND if image.mode == "LA" else (BACKGROUND,) * 3)
    flat.paste(image.convert(flat.mode), mask=image.getchannel("A"))
    return flat


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Through the file's ICC profile if it has a usable one (iPhones write Display P3), else as if it were sRGB."""
    if profile and len(profile) <= MAX_PROFILE_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            if image.mode == "L" and profile[16:20] == b"RGB ":  # the space it maps from, ICC.1 §7.2.6
                image = image.convert("RGB")
            converted = ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB")
            return converted if converted is not None else image
        except Exception:  # garbage is common and harmless: the photo is then a little off in colour
            pass
    return image if image.mode == "RGB" else image.convert("RGB")
