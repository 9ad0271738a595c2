"""Messages as bytes: a 4-byte big-endian length, then the msgpack body."""

import struct
from collections.abc import Callable

import msgspec

from models.wire.messages import FromWorker, ToWorker
from models.wire.tray import Tray

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 256 * 1024 * 1024

_from_worker = msgspec.msgpack.Decoder(FromWorker)


def encode_frame(message: ToWorker | FromWorker, give_tray: Callable[[Tray], None] | None = None) -> bytearray:
    """`give_tray` gets the trays of `message`, in the order in which its reader will ask for them.

    Raises NotImplementedError for a tray without it, ValueError for a message that is too long.
    """

    def mention(value: object) -> bool:
        if give_tray is None or not isinstance(value, Tray):
            raise NotImplementedError(f"a {type(value).__name__} can't be written into a frame")
        give_tray(value)
        return True

    frame = bytearray(HEADER.size)
    msgspec.msgpack.Encoder(enc_hook=mention).encode_into(message, frame, HEADER.size)
    length = len(frame) - HEADER.size
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    HEADER.pack_into(frame, 0, length)
    return frame


def to_worker_decoder(next_tray: Callable[[], Tray]) -> msgspec.msgpack.Decoder[ToWorker]:
    """`next_tray` is asked for every tray that a frame mentions, in order; what it raises comes out of `decode`."""
    return msgspec.msgpack.Decoder(ToWorker, dec_hook=lambda _kind, _mention: next_tray())


def decode_from_worker(body: bytes | bytearray) -> FromWorker:
    return _from_worker.decode(body)
