"""Picture files made in code: as cameras and tools write them, broken ones, and ones that want to do harm."""

import random
import struct
import zlib
from functools import cache
from io import BytesIO
from typing import Any

import pillow_heif
import skimage.data
from PIL import Image

pillow_heif.register_heif_opener()


# ---- honest pictures


@cache
def photo(width: int = 256, height: int = 256) -> Image.Image:
    """A real face on a real background (NASA, public domain)."""
    return Image.fromarray(skimage.data.astronaut()).resize((width, height), Image.Resampling.LANCZOS)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@cache
def plain(kind: str) -> bytes:
    options = {"AVIF": {"speed": 10}, "JPEG": {"quality": 90}}.get(kind, {})
    return saved(photo(), kind, **options)


def turned(orientation: int) -> bytes:
    """The photo 192 wide, 256 high, stored the way a camera held in that `orientation` stores it."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    image = photo(192, 256)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image.transpose(undo) if undo is not None else image, "JPEG", quality=95, exif=exif)


def phone_jpeg() -> bytes:
    """Two frames in one JPEG, as phones write them for depth and gain maps."""
    return saved(photo(), "MPO", save_all=True, append_images=[photo(64, 64)])


def grey_16_bit() -> bytes:
    """A ramp over the whole 16-bit range: clipped instead of scaled, it would be white almost everywhere."""
    ramp = b"".join(struct.pack("<H", x * 257) for x in range(256)) * 256
    return saved(Image.frombytes("I;16", (256, 256), ramp), "PNG")


def palette_with_transparency() -> bytes:
    image = photo().quantize(64)
    return saved(image, "PNG", transparency=0)


def half_transparent(mode: str, kind: str = "PNG", **options: Any) -> bytes:
    """The left half is see-through, and hides pure red (or black) pixels behind it."""
    image = photo().convert(mode)
    alpha = Image.new("L", image.size, 255)
    alpha.paste(0, (0, 0, 128, 256))
    image.paste((0, 0) if mode == "LA" else (255, 0, 0, 0), (0, 0, 128, 256))
    image.putalpha(alpha)
    return saved(image, kind, **options)


def display_p3_profile() -> bytes:
    """A small matrix profile with Display P3's primaries and gamma 2.2 (ICC.1:2010, D50-adapted)."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    xyz = {
        b"rXYZ": (0.51512, 0.2412, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.1571, 0.06657, 0.78407),
    }
    tags = {name: b"XYZ \0\0\0\0" + fixed(*value) for name, value in xyz.items()}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.82491)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body, offset = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", 132 + len(table) - 4 + len(body), b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.82491)
    return head.ljust(128, b"\0") + table + body


# ---- broken and hostile pictures


def cut(kind: str, percent: float) -> bytes:
    data = plain(kind)
    return data[: int(len(data) * percent / 100)]


def flipped(kind: str, seed: int) -> bytes:
    """Every hundredth byte or so is another one; the first 16 stay, so that it is still known for what it was."""
    chance, data = random.Random(seed), bytearray(plain(kind))
    for _ in range(max(4, len(data) // 100)):
        data[chance.randrange(16, len(data))] = chance.randrange(256)
    return bytes(data)


def noise(seed: int, size: int = 4096) -> bytes:
    return b"\x05" + random.Random(seed).randbytes(size)


def jpeg_claiming(width: int, height: int) -> bytes:
    data = bytearray(plain("JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_with(marker: int, *payloads: bytes) -> bytes:
    """Extra segments right after the start of the file."""
    segments = b"".join(struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload for payload in payloads)
    return plain("JPEG")[:2] + segments + plain("JPEG")[2:]


def jpeg_without(marker: bytes) -> bytes:
    data = plain("JPEG")
    at = data.index(marker)
    return data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]


def scan_bomb(copies: int, side: int = 256) -> bytes:
    """A flat progressive JPEG whose last scan is there again and again: little to send, much to decode."""
    data = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * copies + b"\xff\xd9"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *extra: bytes, depth: int = 1, colour: int = 0, rows: bytes = b"") -> bytes:
    """`extra` chunks go before the pixels; `rows` None means just a little of what the header promises."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows or bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + chunk(b"IEND", b"")


def png_bomb(side: int = 30_000) -> bytes:
    squeeze = zlib.compressobj(1)
    row = bytes(1 + (side + 7) // 8)
    pixels = b"".join(squeeze.compress(row * 100) for _ in range(side // 100)) + squeeze.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def png_with(*extra: bytes) -> bytes:
    """Chunks between the header and the rest of an honest PNG."""
    return plain("PNG")[:33] + b"".join(extra) + plain("PNG")[33:]


def rgb_48_bit() -> bytes:
    """16 bits a channel, which Pillow reads and does not write."""
    row = b"\0" + b"".join(struct.pack(">HHH", x * 257, 65535 - x * 257, 32768) for x in range(256))
    return png(256, 256, depth=16, colour=2, rows=row * 256)


def text_bombs(count: int, size: int) -> bytes:
    return png_with(*[chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(size), 9))] * count)


def animated(kind: str, **options: Any) -> bytes:
    frames = [photo(96, 96).rotate(angle) for angle in (90, 180, 270)]
    return saved(photo(96, 96), kind, save_all=True, append_images=frames, duration=100, **options)


def looping_exif() -> bytes:
    """The directory's successor is the directory itself."""
    entry = struct.pack("<HHII", 0x0112, 3, 1, 6)
    return jpeg_with(0xE1, b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 8))


def bad_exif(entries: int) -> bytes:
    """Each entry says that its four gigabytes lie somewhere past the end."""
    entry = struct.pack("<HHII", 0x9286, 2, 0xFFFFFFF0, 0xFFFFFF00)
    return jpeg_with(0xE1, b"Exif\0\0II*\0" + struct.pack("<IH", 8, entries) + entry * entries + bytes(4))


def text_orientation() -> bytes:
    entry = struct.pack("<HHI4s", 0x0112, 2, 4, b"up!\0")
    return jpeg_with(0xE1, b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4))


def webp_claiming(side: int) -> bytes:
    """The extended header's canvas is patched; the frame in it is not."""
    data = bytearray(saved(photo(), "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0"))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


def heif_claiming(kind: str, side: int) -> bytes:
    data = bytearray(plain(kind))
    at = data.index(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", side, side)
    return bytes(data)


def heic_album() -> bytes:
    """Several still pictures, none of them a frame of the other; the first is the one that counts."""
    album = pillow_heif.from_pillow(photo())
    album.add_from_pillow(photo(96, 96))
    stream = BytesIO()
    album.save(stream)
    return stream.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def brand(name: bytes, *others: bytes) -> bytes:
    return box(b"ftyp", name + bytes(4) + b"".join(others))


def cmyk_profile_on_rgb() -> bytes:
    profile = bytearray(display_p3_profile())
    profile[16:20] = b"CMYK"
    return saved(photo(), "JPEG", icc_profile=bytes(profile))
