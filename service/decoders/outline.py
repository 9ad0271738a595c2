"""Where a file's first picture ends, by the framing that its format prescribes: no codec, and no pixel.

Each reader walks as the format's own library does, so that nothing is skipped here that a codec would read: motion
photos, multi-picture files and thumbnails inside a segment have bytes of other pictures and of videos beside the first
picture's own.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

JPEG_END = b"\xff\xd9"  # EOI
_JPEG_SCAN, _JPEG_EOI, _JPEG_SOI = 0xDA, 0xD9, 0xD8
_JPEG_BARE = frozenset(range(0xC0)) | {_JPEG_SOI}  # markers without a length: TEM, a second start, and reserved ones


@dataclass(frozen=True, slots=True)
class Outline:
    """`is_cut`: what is there is well formed, and ends before the picture does. `scans`: of a JPEG, as many as libjpeg
    can meet."""

    is_cut: bool
    scans: int = 0


def outline(kind: str, data: bytes) -> Outline:
    """Of a file of one of the kinds of `content.READABLE`."""
    return _READERS[kind](data)


def _jpeg(data: bytes) -> Outline:
    """From the picture's start to the first end marker (ITU-T T.81, annex B).

    As libjpeg does, it passes over fill bytes, stuffed bytes, restart markers and rubbish between segments, and over a
    segment by its length.
    """
    octets = np.frombuffer(data, np.uint8)
    begins = np.flatnonzero(octets[:-1] == 0xFF)
    kinds = octets[begins + 1]
    begins = begins[(kinds != 0x00) & (kinds != 0xFF) & ((kinds < 0xD0) | (kinds > 0xD7))]  # [markers]
    scans, at, is_clean, in_scan = 0, 2, True, False
    while (index := int(np.searchsorted(begins, at))) < len(begins):
        marker = int(begins[index])
        is_clean = is_clean and (in_scan or not data[at:marker].strip(b"\xff"))
        kind = data[marker + 1]
        if kind == _JPEG_EOI:
            return Outline(is_cut=False, scans=scans)
        in_scan = kind == _JPEG_SCAN
        scans += in_scan
        is_bare = kind in _JPEG_BARE
        is_clean = is_clean and not is_bare
        at = marker + 2 + (0 if is_bare else max(2, int.from_bytes(data[marker + 2 : marker + 4], "big")))
    return Outline(is_cut=is_clean and (in_scan or at >= len(data)), scans=scans)


def _png(data: bytes) -> Outline:
    """Cut without the chunk that ends it (ISO/IEC 15948, 5.3): length, type, body, CRC."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IEND" or length >= 2**31:
            return Outline(is_cut=False)
        at += 12 + length
    return Outline(is_cut=True)


def _webp(data: bytes) -> Outline:
    """Cut if shorter than its RIFF header says (RFC 9649, 2.4)."""
    return Outline(is_cut=len(data) < 8 + int.from_bytes(data[4:8], "little"))


def _container(data: bytes) -> Outline:
    """Cut in the middle of the box that describes the picture or that has its data (ISO/IEC 14496-12, 4.2): length,
    type, and a long length if the first is 1."""
    at, box = 0, b""
    while at + 16 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:
            return Outline(is_cut=False)  # 0: to the file's end; others are no length
        box = data[at + 4 : at + 8]
        at += length
    return Outline(is_cut=at > len(data) and box in (b"meta", b"mdat"))


_READERS: dict[str, Callable[[bytes], Outline]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WebP": _webp,
    "HEIC": _container,
    "AVIF": _container,
}
