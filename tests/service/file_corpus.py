"""Some 150 bodies of a picture and what must come of each."""

import struct
import zlib
from collections.abc import Callable, Iterable

from PIL import ImageCms

from tests.service.expect import FINE, Expect, HostileFile, refused
from tests.service.pictures import (
    animated,
    bad_exif,
    box,
    brand,
    chunk,
    cmyk_profile_on_rgb,
    cut,
    display_p3_profile,
    flipped,
    grey_16_bit,
    half_transparent,
    heic_album,
    heif_claiming,
    jpeg_claiming,
    jpeg_with,
    jpeg_without,
    looping_exif,
    noise,
    palette_with_transparency,
    phone_jpeg,
    photo,
    plain,
    png,
    png_bomb,
    png_with,
    rgb_48_bit,
    saved,
    scan_bomb,
    text_bombs,
    text_orientation,
    turned,
    webp_claiming,
)

DAMAGED = refused(422, "image_undecodable")
CUT = refused(422, "image_truncated")
READ_AS_FAR_AS_IT_GOES = refused(422, "image_truncated", or_fine=True)
MAYBE_DAMAGED = refused(422, "image_undecodable", or_fine=True)
NO_PICTURE = refused(415, "image_not_recognised")
SIZES = ("image_too_small", "image_side_too_long", "image_too_many_pixels")
ANY_PICTURE_FAULT = refused(422, "image_undecodable", "image_animated", "image_decode_memory", *SIZES, or_fine=True)


def _good_files() -> Iterable[HostileFile]:
    kinds = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "heic": "HEIF", "avif": "AVIF"}
    for name, kind in kinds.items():
        yield HostileFile(f"good_{name}", lambda kind=kind: plain(kind), FINE)
    for orientation in range(1, 9):
        yield HostileFile(f"good_orientation_{orientation}", lambda turn=orientation: turned(turn), FINE)
    grey = photo().convert("L")
    makers: dict[str, Callable[[], bytes]] = {
        "phone_jpeg_mpo": phone_jpeg,
        "progressive": lambda: saved(photo(), "JPEG", progressive=True),
        "grey_jpeg": lambda: saved(grey, "JPEG"),
        "cmyk_jpeg": lambda: saved(photo().convert("CMYK"), "JPEG"),
        "grey_16_bit": grey_16_bit,
        "rgb_48_bit": rgb_48_bit,
        "one_bit": lambda: saved(photo().convert("1"), "PNG"),
        "palette": lambda: saved(photo().quantize(64), "PNG"),
        "palette_with_transparency": palette_with_transparency,
        "grey_alpha": lambda: half_transparent("LA"),
        "rgba": lambda: half_transparent("RGBA"),
        "rgba_webp": lambda: half_transparent("RGBA", "WEBP"),
        "rgba_heic": lambda: half_transparent("RGBA", "HEIF"),
        "transparent_colour": lambda: saved(photo(), "PNG", transparency=(0, 0, 0)),
        "display_p3": lambda: saved(photo(), "JPEG", icc_profile=display_p3_profile()),
        "grey_with_rgb_profile": lambda: saved(grey, "JPEG", icc_profile=display_p3_profile()),
        "heic_album": heic_album,
        "smallest": lambda: saved(photo(64, 64), "JPEG"),
    }
    for name, make in makers.items():
        yield HostileFile(f"good_{name}", make, FINE)


def _damaged_files() -> Iterable[HostileFile]:
    for kind in ("JPEG", "PNG", "WEBP", "HEIF", "AVIF"):
        for percent in (2, 10, 50, 90, 99):
            expect = READ_AS_FAR_AS_IT_GOES if kind in ("JPEG", "PNG", "HEIF") else CUT
            yield HostileFile(f"cut_{kind}_{percent}", lambda kind=kind, part=percent: cut(kind, part), expect)
        for seed in (1, 2, 3):
            make = lambda kind=kind, seed=seed: flipped(kind, seed)  # noqa: E731
            yield HostileFile(f"flipped_{kind}_{seed}", make, ANY_PICTURE_FAULT)
    jpeg, riff = plain("JPEG"), plain("WEBP")
    makers: dict[str, tuple[Callable[[], bytes], Expect]] = {
        "jpeg_only_start_and_end": (lambda: b"\xff\xd8\xff\xd9", DAMAGED),
        "jpeg_start_thousand_times": (lambda: b"\xff\xd8" * 1000, DAMAGED),
        "jpeg_without_huffman_tables": (lambda: jpeg_without(b"\xff\xc4"), ANY_PICTURE_FAULT),
        "jpeg_without_quantization": (lambda: jpeg_without(b"\xff\xdb"), DAMAGED),
        "jpeg_without_frame": (lambda: jpeg_without(b"\xff\xc0"), DAMAGED),
        "jpeg_height_0": (lambda: jpeg_claiming(256, 0), refused(422, "image_undecodable", "image_too_small")),
        "png_bad_crc": (lambda: bytes(b ^ 1 if at == 32 else b for at, b in enumerate(plain("PNG"))), DAMAGED),
        "png_0x0": (lambda: png(0, 0), refused(422, "image_undecodable", "image_too_small")),
        "png_negative_size": (lambda: png(2**32 - 1, 2**32 - 1), refused(422, "image_undecodable", *SIZES)),
        "png_endless_chunk": (lambda: png_with(b"\xff\xff\xff\xfftEXt"), DAMAGED),
        "png_too_few_pixels": (lambda: png(4000, 4000), DAMAGED),
        "png_palette_missing": (lambda: png(100, 100, depth=8, colour=3, rows=bytes(101 * 100)), ANY_PICTURE_FAULT),
        "png_signature_only": (lambda: plain("PNG")[:8], CUT),
        "webp_wrong_length": (lambda: riff[:4] + b"\xff\xff\xff\x7f" + riff[8:], CUT),
        "webp_empty": (lambda: b"RIFF\x04\0\0\0WEBP", DAMAGED),
        "heic_brand_only": (lambda: brand(b"heic", b"mif1", b"heic"), DAMAGED),
        "avif_brand_only": (lambda: brand(b"avif", b"mif1", b"avif"), DAMAGED),
        "still_brand_and_noise": (lambda: brand(b"mif1") + noise(9), DAMAGED),
        "heic_nested_boxes": (lambda: brand(b"heic", b"mif1") + box(b"meta", box(b"meta", b"\0" * 4) * 2000), DAMAGED),
        "ftyp_with_huge_length": (lambda: b"\xff\xff\xff\xffftypheic" + noise(3), DAMAGED),
        "jpeg_then_noise": (lambda: jpeg[:200] + noise(4, 20_000), DAMAGED),
    }
    for name, (make, expect) in makers.items():
        yield HostileFile(name, make, expect)


def _hostile_files() -> Iterable[HostileFile]:
    side, pixels = refused(422, "image_side_too_long"), refused(422, "image_too_many_pixels")
    small, moving = refused(422, "image_too_small"), refused(422, "image_animated")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    padding = chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(64_000_000), 9))
    makers: dict[str, tuple[Callable[[], bytes], Expect]] = {
        "empty": (lambda: b"", refused(422, "image_empty")),
        "jpeg_claims_7300x7300": (lambda: jpeg_claiming(7300, 7300), pixels),
        "jpeg_claims_9000x9000": (lambda: jpeg_claiming(9000, 9000), pixels),
        "jpeg_claims_65500x65500": (lambda: jpeg_claiming(65500, 65500), side),
        "jpeg_claims_2000x2000": (lambda: jpeg_claiming(2000, 2000), MAYBE_DAMAGED),
        "png_bomb_30000x30000": (png_bomb, side),
        "png_claims_12000x12000": (lambda: png(12_000, 12_000), pixels),
        "png_claims_65000x1": (lambda: png(65_000, 1), side),
        "webp_claims_16000": (lambda: webp_claiming(16_000), ANY_PICTURE_FAULT),
        "heic_claims_20000": (lambda: heif_claiming("HEIF", 20_000), ANY_PICTURE_FAULT),
        "avif_claims_20000": (lambda: heif_claiming("AVIF", 20_000), ANY_PICTURE_FAULT),
        "png_1x1": (lambda: saved(photo(1, 1), "PNG"), small),
        "jpeg_1x1": (lambda: saved(photo(1, 1), "JPEG"), small),
        "webp_63x500": (lambda: saved(photo(63, 500), "WEBP"), small),
        "jpeg_ribbon_6000x70": (lambda: saved(photo(6000, 70), "JPEG"), small),
        "scan_bomb_200": (lambda: scan_bomb(200), refused(422, "image_too_many_scans")),
        "animated_png": (lambda: animated("PNG"), moving),
        "animated_webp": (lambda: animated("WEBP"), moving),
        "animated_avif": (lambda: animated("AVIF", speed=10), moving),
        "exif_loop": (looping_exif, FINE),
        "exif_wild_offsets": (lambda: bad_exif(2000), FINE),
        "exif_noise": (lambda: jpeg_with(0xE1, b"Exif\0\0II*\0" + noise(5, 60_000)), FINE),
        "exif_text_orientation": (text_orientation, FINE),
        "exif_orientation_255": (lambda: turned(255), FINE),
        "icc_noise": (lambda: saved(photo(), "JPEG", icc_profile=noise(6, 400_000)), FINE),
        "icc_cut": (lambda: saved(photo(), "PNG", icc_profile=srgb[:300]), FINE),
        "icc_cmyk_on_rgb": (cmyk_profile_on_rgb, FINE),
        "icc_bomb": (lambda: png_with(padding), MAYBE_DAMAGED),
        "text_bomb": (lambda: text_bombs(1, 20_000_000), MAYBE_DAMAGED),
        "hundred_text_bombs": (lambda: text_bombs(100, 900_000), DAMAGED),
        "long_comments": (lambda: jpeg_with(0xFE, *[b"x" * 65_000] * 20), FINE),
        "jpeg_and_zip": (lambda: plain("JPEG") + b"PK\x03\x04" + noise(7), FINE),
        "jpeg_with_html": (lambda: jpeg_with(0xFE, b"<html><script>alert(1)</script>"), FINE),
        "jpeg_with_thumbnail_bomb": (lambda: jpeg_with(0xE1, b"Exif\0\0" + jpeg_claiming(65500, 65500)), FINE),
        "mpo_wild_offsets": (lambda: jpeg_with(0xE2, b"MPF\0II*\0" + noise(8, 500)), FINE),
        "over_12_megabytes": (lambda: plain("JPEG") + bytes(12_000_000), refused(413, "image_too_many_bytes")),
    }
    for name, (make, expect) in makers.items():
        yield HostileFile(name, make, expect)


def _other_files() -> Iterable[HostileFile]:
    makers: dict[str, Callable[[], bytes]] = {
        "one_byte": lambda: b"\xff",
        "zeros": lambda: bytes(1000),
        "noise_1": lambda: noise(1),
        "noise_2": lambda: noise(2, 100_000),
        "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "svg_after_xml": lambda: b'\xef\xbb\xbf<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY a "b">]><svg/>',
        "html": lambda: b"<!DOCTYPE html><html><body>no photo</body></html>",
        "pdf": lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "pdf_and_jpeg": lambda: b"%PDF-1.4\n" + plain("JPEG"),
        "gif": lambda: saved(photo(96, 96), "GIF"),
        "gif_and_jpeg": lambda: b"GIF89a" + plain("JPEG"),
        "tiff": lambda: saved(photo(96, 96), "TIFF"),
        "bmp": lambda: saved(photo(96, 96), "BMP"),
        "ico": lambda: saved(photo(96, 96), "ICO"),
        "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(id) (w) file\n",
        "psd": lambda: b"8BPS\0\x01" + bytes(6) + b"\0\x03" + struct.pack(">IIHH", 64, 64, 8, 3),
        "zip": lambda: b"PK\x03\x04" + noise(3, 200),
        "gzip": lambda: b"\x1f\x8b\x08" + noise(4, 200),
        "program": lambda: b"\x7fELF\x02\x01\x01" + bytes(200),
        "video": lambda: brand(b"isom", b"mp42") + box(b"mdat", bytes(100)),
        "jpeg_xl": lambda: b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(100),
        "jpeg_2000": lambda: saved(photo(96, 96), "JPEG2000"),
        "fits": lambda: b"SIMPLE  =                    T" + b" " * 2850,
        "json": lambda: b'{"image": "..."}',
        "base64": lambda: b"/9j/4AAQSkZJRgABAQ==",
        "data_url": lambda: b"data:image/jpeg;base64,/9j/4AAQSkZJRg==",
        "address": lambda: b"http://169.254.169.254/latest/meta-data",
        "ppm": lambda: b"P6 100000 100000 255 ",
    }
    for name, make in makers.items():
        yield HostileFile(f"other_{name}", make, NO_PICTURE)


FILES = [*_good_files(), *_damaged_files(), *_hostile_files(), *_other_files()]
