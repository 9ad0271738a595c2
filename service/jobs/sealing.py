"""Sealed tokens: what a caller keeps for us, encrypted, so that we keep nothing about a face.

A token is text: its kind, a dot, and URL-safe base64 without padding of

    key id (4 bytes) | nonce (12) | AES-256-GCM of msgpack [caller id, expiry in Unix seconds, payload] | tag (16)

The kind and the key id are authenticated as associated data. Caller and expiry lie *inside* the box. Were the caller
associated data, another caller's token would be told apart from a damaged one by nothing. Inside, the answer
`token_foreign` is given for a token that is genuine to its last bit and for no other, so it is no oracle: who altered
a token learns nothing but `token_tampered`, and who sends a stolen one learns that it is useless, and not whose it is.

Size: 32 bytes and the caller's id, about 50 in all, over the payload, a third for base64, and the kind: a PhotoMaker v2
identity of 2 x 2048 half-precision numbers is a token of 11,000 characters. Nothing is compressed: such numbers
shrink by 7 % only (zlib, random normal values), and lengths of compressed secrets tell about them.
One key may seal 2**32 tokens (NIST SP 800-38D, section 8.3, random nonces); at 100 a second that is a year.
"""

import base64
import binascii
import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from service.errors import BadRequest, Forbidden
from service.watched_file import WatchedFile

Kind = Literal["identity", "proof"]
KINDS: tuple[str, ...] = get_args(Kind)
KEY_BYTES = 32
KEY_ID_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_TOKEN_CHARS = 512 * 1024


class SealingKeysError(ValueError):
    """The file of sealing keys is wrong. The text is for the operator and shows no key."""


class Sealed(Struct, frozen=True, array_like=True):
    """What is in the box."""

    caller_id: str
    expires: int  # Unix seconds
    payload: bytes

    def __repr__(self) -> str:
        return f"Sealed({len(self.payload)} bytes)"


@dataclass(frozen=True, slots=True)
class SealingKey:
    """One AES key. Its id is derived from it, so nobody has to keep a list of names."""

    id: bytes
    cipher: AESGCM = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> "SealingKey":
        return cls(hashlib.blake2b(secret, digest_size=KEY_ID_BYTES, person=b"proofsheet-key").digest(), AESGCM(secret))


Keyring = tuple[SealingKey, ...]  # the first one seals, all of them open


def parse_keyring(text: str) -> Keyring:
    """Keys, one a line in base64, newest first; empty lines and # comments are skipped. Raises SealingKeysError."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    keys = [_parse_key(number, line) for number, line in lines if line and not line.startswith("#")]
    if not keys:
        raise SealingKeysError("it holds no key; make one with `openssl rand -base64 32`")
    return tuple(keys)


def _parse_key(number: int, line: str) -> SealingKey:
    try:
        secret = base64.b64decode(line, altchars=b"-_" if set(line) & set("-_") else None, validate=True)
    except binascii.Error:
        raise SealingKeysError(f"line {number} is no base64; make a key with `openssl rand -base64 32`") from None
    if len(secret) != KEY_BYTES:
        raise SealingKeysError(f"line {number} holds a key of {len(secret)} bytes; wanted {KEY_BYTES}")
    return SealingKey.of(secret)


class Sealer:
    """Seals and opens tokens. Keeps nothing of what it seals."""

    def __init__(self, keyring: Callable[[], Keyring], *, clock: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._clock = clock  # wall time: a token outlives a process, and with shared keys a machine

    @classmethod
    def with_random_key(cls, *, clock: Callable[[], float] = time.time) -> "Sealer":
        """Its tokens die with this process."""
        keyring = (SealingKey.of(os.urandom(KEY_BYTES)),)
        return cls(lambda: keyring, clock=clock)

    @classmethod
    def from_file(cls, path: Path) -> "Sealer":
        """Reads the file again when it changes. Raises OSError and SealingKeysError."""
        return cls(WatchedFile(path, parse_keyring).current)

    def seal(self, kind: Kind, payload: bytes, caller_id: str, lifetime_seconds: float) -> str:
        """A token that opens for this caller, as this kind, for this long."""
        key = self._keyring()[0]
        nonce = os.urandom(NONCE_BYTES)
        content = msgspec.msgpack.encode(Sealed(caller_id, math.ceil(self._clock() + lifetime_seconds), payload))
        box = key.cipher.encrypt(nonce, content, _bound(kind, key.id))
        return f"{kind}.{_to_text(key.id + nonce + box)}"

    def open(self, kind: Kind, token: str, caller_id: str) -> bytes:
        """The payload. Raises BadRequest or Forbidden with one of the codes token_*.

        The order of the tests is part of the promise: nothing is said about a token's owner or age before every bit
        of it is known to be ours.
        """
        key_id, nonce, box = _take_apart(kind, token)
        key = next((key for key in self._keyring() if key.id == key_id), None)
        if key is None:
            raise _refusal(
                kind, "token_unknown_key", f"This {kind} token was sealed with a key that is gone: ask for a new one."
            )
        try:
            content = key.cipher.decrypt(nonce, box, _bound(kind, key_id))
        except InvalidTag:
            raise _refusal(
                kind,
                "token_tampered",
                f"This {kind} token was changed after it was made: send it back just as it was given.",
            ) from None
        sealed = msgspec.msgpack.decode(content, type=Sealed)
        if sealed.caller_id != caller_id:
            raise Forbidden(
                "token_foreign",
                f"This {kind} token was given to another API key: use the key that asked for it.",
                extra={"field": kind},
            )
        late = self._clock() - sealed.expires
        if late >= 0:
            raise _refusal(kind, "token_expired", f"This {kind} token expired {late:.0f} s ago: ask for a new one.")
        return sealed.payload


def _bound(kind: str, key_id: bytes) -> bytes:
    return b"proofsheet 1 " + kind.encode() + b" " + key_id


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _take_apart(kind: Kind, token: str) -> tuple[bytes, bytes, bytes]:
    """(key id, nonce, box). Raises BadRequest."""
    name, dot, text = token.partition(".")
    if not dot or name not in KINDS or len(token) > MAX_TOKEN_CHARS:
        raise _malformed(kind)
    if name != kind:
        raise _refusal(kind, "token_wrong_kind", f"The field takes a token that begins with '{kind}.', not '{name}.'.")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(kind) from None
    if _to_text(raw) != text:  # base64 has several ways to write its last bits; ours is one
        raise _malformed(kind)
    if len(raw) < KEY_ID_BYTES + NONCE_BYTES + TAG_BYTES:
        raise _malformed(kind)
    return raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES : KEY_ID_BYTES + NONCE_BYTES], raw[KEY_ID_BYTES + NONCE_BYTES :]


def _malformed(kind: Kind) -> BadRequest:
    return _refusal(
        kind,
        "token_malformed",
        f"This is no {kind} token: send the whole text that begins with '{kind}.', just as it was given.",
    )


def _refusal(kind: Kind, code: str, message: str) -> BadRequest:
    return BadRequest(code, message, extra={"field": kind})
