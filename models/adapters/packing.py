"""An identity as bytes, for a caller to keep (sealed by the front) and to send back instead of selfies.

MessagePack of plain numbers; nothing in it is ever run. It is small: PhotoMaker v2 in full size has 2 tokens of 2,048
numbers a selfie (8 KiB in bfloat16), InstantID one face vector of 512 (2 KiB) however many selfies, IP-Adapter 16
tokens of 2,048 a selfie (64 KiB). An identity is bound to its adapter and to the exact weights that made it. What
comes in is checked as if anybody had written it, although the front lets in only what it has sealed.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import msgspec
import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from models.adapters.adapter import Adapter, Identity, Pose

VERSION = 1
MAX_BYTES = 1 << 20  # eight selfies of the largest adapter are half of it
MAX_SIDE = 65_535  # pixels of a picture in which a face was found
FAR_OUT = 10  # picture sizes from the middle that a face's point may lie

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class IdentityRefused(ValueError):
    """These bytes are no identity for this adapter. `code` is stable; the text is for the caller."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept of somebody, and how the face stood in the pose photo of a picture that was made with one."""

    identity: Identity
    stands: Pose | None = None


class _Pose(Struct, frozen=True, array_like=True):
    landmarks: tuple[tuple[float, float], ...]
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    @classmethod
    def of(cls, pose: Pose | None) -> "_Pose | None":
        if pose is None:
            return None
        points = tuple((float(x), float(y)) for x, y in pose.landmarks)
        box = cast(tuple[float, float, float, float], tuple(float(edge) for edge in pose.box))
        return cls(points, box, (int(pose.size[0]), int(pose.size[1])))

    def pose(self) -> Pose:
        """Raises IdentityRefused for a face that no picture can have had."""
        numbers = [number for point in (*self.landmarks, self.box[:2], self.box[2:]) for number in point]
        reach = FAR_OUT * max(self.size)
        sane = (
            len(self.landmarks) == 5
            and all(0 < side <= MAX_SIDE for side in self.size)
            and all(math.isfinite(number) and abs(number) <= reach for number in numbers)
            and self.box[0] < self.box[2]
            and self.box[1] < self.box[3]
        )
        if not sane:
            raise _malformed()
        return Pose(np.array(self.landmarks, np.float32), self.box, self.size)


class _Packed(Struct, frozen=True, array_like=True):
    version: int
    adapter: str
    revision: str
    dtype: Literal["float32", "bfloat16", "float16"]
    shape: tuple[int, int]
    tokens: bytes
    pose: _Pose | None
    stands: _Pose | None


def pack(kept: Kept, adapter: Adapter, revision: str) -> bytes:
    """Bytes that `unpack` gives back bit by bit. `revision` is that of the bundle's weights."""
    tokens = kept.identity.tokens.detach().cpu().contiguous()
    return msgspec.msgpack.encode(
        _Packed(
            version=VERSION,
            adapter=adapter.name,
            revision=revision,
            dtype=next(name for name, dtype in DTYPES.items() if dtype == tokens.dtype),  # pyright: ignore[reportArgumentType]
            shape=(len(tokens), tokens.shape[1]),
            tokens=tokens.view(torch.uint8).numpy().tobytes(),
            pose=_Pose.of(kept.identity.pose),
            stands=_Pose.of(kept.stands),
        )
    )


def unpack(data: bytes, adapter: Adapter, revision: str) -> Kept:
    """What `pack` was given, where the adapter wants it. Raises IdentityRefused."""
    packed = _read(data)
    if packed.adapter != adapter.name:
        raise IdentityRefused(
            "identity_wrong_adapter",
            f"The identity was made for the adapter {packed.adapter[:40]!r}, and this job uses {adapter.name!r}: "
            "choose that adapter, or make the identity again.",
        )
    if packed.revision != revision:
        raise IdentityRefused(
            "identity_wrong_bundle",
            "The identity was made with other model weights than those loaded here: make it again from the selfies.",
        )
    pose = packed.pose.pose() if packed.pose else None
    if adapter.takes_pose and pose is None:
        raise _malformed()
    return Kept(Identity(_tokens(packed, adapter), pose), packed.stands.pose() if packed.stands else None)


def _read(data: bytes) -> _Packed:
    """Version first: what a later version holds is not ours to judge."""
    if len(data) > MAX_BYTES:
        raise _malformed()
    try:
        packed = msgspec.msgpack.decode(data, type=_Packed)
    except (msgspec.DecodeError, RecursionError):
        raise _malformed() from None
    if packed.version != VERSION:
        raise IdentityRefused(
            "identity_wrong_version", "The identity was made by another version of this service: make it again."
        )
    return packed


def _tokens(packed: _Packed, adapter: Adapter) -> Tensor:
    (rows, width), shape, dtype = packed.shape, adapter.tokens, DTYPES[packed.dtype]
    fits = 0 < rows <= shape.max_rows and rows % shape.rows_a_selfie == 0 and width == shape.width
    if not fits or len(packed.tokens) != rows * width * dtype.itemsize:
        raise _malformed()
    tokens = torch.frombuffer(bytearray(packed.tokens), dtype=dtype).view(rows, width)
    if not bool(torch.isfinite(tokens).all()):
        raise _malformed()
    return tokens.to(shape.device, shape.dtype)


def _malformed() -> IdentityRefused:
    return IdentityRefused("identity_malformed", "These bytes are no identity, or a damaged one: make it again.")
