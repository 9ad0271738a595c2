"""The messages between the front and a decoder process, and the limits that both sides keep.

A frame is a 4-byte big-endian length and a body. The first frame sent to a decoder is a DecoderSetup, its answer a
DecoderReady; every later one is a picture's raw bytes, its answer a Decoded or a Refused. Before each picture a tray
for its pixels is sent over the tray socket; where there are no trays, the answer contains the pixels. Imports neither
Pillow nor asyncio, to keep both sides light.
"""

import struct
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from service.errors import BadPicture, ServiceError, TooLarge, UnsupportedMedia

MEGABYTE = 1_000_000
MAX_BYTES = 12 * MEGABYTE  # a 48-megapixel phone JPEG is 6-10 MB
MAX_PIXELS = 52_000_000  # phones and cameras of "50 megapixels" write up to 51.9 million
MAX_SIDE = 12_000
MIN_SIDE = 64  # below, no face can be read
MAX_SCANS = 64  # cameras' progressive files have about 10; 1000 cost libjpeg 30 s in a 270 kB file
# Of processor time, so that a busy machine refuses no photo; the slowest genuine ones, HEICs, take 0.06 to 0.08 s a
# megapixel.
DECODE_SECONDS = 3.0
DECODE_SECONDS_A_MEGAPIXEL = 0.2
DECODE_WALL_SECONDS = 30.0  # for a decoder that gets no processor, or waits for nothing
OUTPUT_SIDE = 1536  # enough for the face crop; also bounds an answer: 7 MB
DECODER_MEMORY_BYTES = 1_500 * MEGABYTE  # of address space; 50 megapixels at 4 bytes, a few times over


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """What one picture may cost. Sides and pixels are judged by the file's header, before anything is decoded.

    The processor time is `decode_seconds`, or `decode_seconds_a_megapixel` for its size if that is more.
    """

    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    max_side: int = MAX_SIDE
    min_side: int = MIN_SIDE
    max_scans: int = MAX_SCANS
    decode_seconds: float = DECODE_SECONDS
    decode_seconds_a_megapixel: float = DECODE_SECONDS_A_MEGAPIXEL
    decode_wall_seconds: float = DECODE_WALL_SECONDS
    output_side: int = OUTPUT_SIDE
    decoder_memory_bytes: int = DECODER_MEMORY_BYTES

    @property
    def max_answer_bytes(self) -> int:
        """The longest frame that a decoder may send."""
        return self.max_pixel_bytes + 4096

    @property
    def max_pixel_bytes(self) -> int:
        return 3 * self.output_side**2

    def seconds_for(self, size: tuple[int, int]) -> float:
        """The processor time for a picture of this width and height."""
        return max(self.decode_seconds, self.decode_seconds_a_megapixel * size[0] * size[1] / 1e6)


class DecoderSetup(Struct, frozen=True, kw_only=True, tag="setup"):
    """The first frame a decoder gets: everything that it needs to know."""

    limits: ImageLimits
    heic: bool


class DecoderReady(Struct, frozen=True, kw_only=True, tag="ready"):
    """Codecs loaded, limits in force. `notes` says which protection or format this machine lacks, and why."""

    formats: list[str]
    notes: list[str] = []


class Decoded(Struct, frozen=True, kw_only=True, tag="decoded"):
    """8-bit sRGB, upright, at most `output_side` on its long side; `rgb` is empty when the pixels are on a tray.

    `truncated`: the file was cut off, and rows or detail are missing.
    """

    width: int
    height: int
    rgb: bytes
    truncated: bool = False

    def __repr__(self) -> str:
        return f"Decoded({self.width}x{self.height})"


class Refused(Struct, frozen=True, kw_only=True, tag="refused"):
    """Why there are no pixels, in our own words only: a codec's text may quote the file."""

    code: str
    message: str
    value: float | str | None = None
    limit: float | None = None

    def as_error(self) -> ServiceError:
        """The exception that the front raises for it."""
        kinds: dict[str, type[ServiceError]] = {
            "image_too_many_bytes": TooLarge,
            "image_not_recognised": UnsupportedMedia,
            "heic_disabled": UnsupportedMedia,
        }
        kind = kinds.get(self.code, BadPicture)
        return kind(self.code, self.message, value=self.value, limit=self.limit)


Answer = DecoderReady | Decoded | Refused

HEADER = struct.Struct(">I")
encode = msgspec.msgpack.Encoder().encode
decode_setup = msgspec.msgpack.Decoder(DecoderSetup).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
