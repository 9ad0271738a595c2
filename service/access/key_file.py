"""The file of API keys: TOML that people read and change, one table per key, and never a secret in it.

    [keys.3f9a1c2e]
    caller = "shop"                      # several keys may be one caller's: they share jobs and tokens
    hash = "hmac-sha256 in hex"
    scopes = ["preview", "final"]
    weight = 2.0                         # of the caller's share in the waiting line
    images_per_minute = 60
    jobs_in_flight = 8
    not_after = 2027-01-01T00:00:00Z

The hash is keyed with a secret of the service's own that lies in another file: who can only write this one can't make
a key, and who reads both learns no key, as its secret has 256 random bits (so a slow password hash would buy nothing).
"""

import hashlib
import hmac
import os
import re
import secrets
import tempfile
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from service.access.caller import Caller, Limits, Scope
from service.settings import Settings

KEY_PREFIX = "ps_"
KEY_SHAPE = re.compile(KEY_PREFIX + r"([0-9a-z]{8})_([A-Za-z0-9_-]{43})")
SECRET_BYTES = 32

KeyId = Annotated[str, Meta(pattern="^[0-9a-z]{8}$")]
CallerName = Annotated[
    str,
    Meta(
        pattern="^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$",
        description="1 to 64 letters, digits, . and -, with no space, a letter or digit first: my-shop",
    ),
]
Moment = Annotated[datetime, Meta(tz=True)]


class KeysError(ValueError):
    """The file of keys can't be used. The text is for the operator and holds no secret."""


class KeyEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key as the file tells it."""

    caller: CallerName
    hash: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[frozenset[Scope], Meta(min_length=1)]
    weight: Annotated[float, Meta(gt=0, le=100)] = 1.0
    images_per_minute: Annotated[int, Meta(ge=1)] | None = None
    jobs_in_flight: Annotated[int, Meta(ge=1)] | None = None
    not_after: Moment | None = None
    revoked: Moment | None = None

    def state(self, now: datetime) -> str:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.not_after is not None and self.not_after <= now else "active"

    def as_caller(self, key_id: str) -> Caller:
        limits = Limits(images_per_minute=self.images_per_minute, jobs_in_flight=self.jobs_in_flight)
        return Caller(id=self.caller, key_id=key_id, scopes=self.scopes, weight=self.weight, limits=limits)


class KeyTable(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    keys: dict[KeyId, KeyEntry] = {}


def key_paths(settings: Settings) -> tuple[Path, Path]:
    """The file of keys, and the one of the secret that keys their hashes."""
    path = Path(settings.keys or "")
    return path, Path(settings.keys_secret) if settings.keys_secret else path.with_name(path.name + ".secret")


def parse_keys(text: str) -> dict[str, KeyEntry]:
    """The entries by key id. Raises KeysError."""
    try:
        return msgspec.convert(tomllib.loads(text), KeyTable).keys
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise KeysError(str(error)) from None


def keyed_hash(service_secret: bytes, key_id: str, key_secret: str) -> str:
    return hmac.digest(service_secret, f"{key_id}.{key_secret}".encode(), hashlib.sha256).hex()


def read_service_secret(path: Path) -> bytes:
    """The secret that keys the hashes. Raises OSError or KeysError."""
    secret = path.read_bytes().strip()
    if len(secret) < SECRET_BYTES:
        raise KeysError(f"it holds {len(secret)} bytes; wanted {SECRET_BYTES} or more, as `proofsheet keys add` makes")
    return secret


def make_service_secret(path: Path) -> bytes:
    """The secret in the file; a new one, if there is no file."""
    if not path.exists():
        _write(path, secrets.token_hex(SECRET_BYTES) + "\n")
    return read_service_secret(path)


def add_key(path: Path, service_secret: bytes, entry: KeyEntry) -> str:
    """Append a key to the file, with a new id and `entry`'s hash replaced. Returns the key, which is kept nowhere."""
    text = path.read_text(encoding="utf-8") if path.exists() else "# API keys of Proofsheet: `proofsheet keys --help`\n"
    known = parse_keys(text)
    key_id = next(key_id for key_id in iter(lambda: secrets.token_hex(4), "") if key_id not in known)
    key_secret = secrets.token_urlsafe(SECRET_BYTES)
    made = msgspec.structs.replace(entry, hash=keyed_hash(service_secret, key_id, key_secret))
    changed = f"{text.rstrip()}\n\n[keys.{key_id}]\n{_as_toml(made)}"
    parse_keys(changed)
    _write(path, changed)
    return f"ps_{key_id}_{key_secret}"


def revoke_key(path: Path, key_id: str, now: datetime) -> KeyEntry:
    """Mark a key as revoked; its line stays, so that its owner is told why. Raises KeysError for an unknown one."""
    text = path.read_text(encoding="utf-8")
    entry = parse_keys(text).get(key_id)
    if entry is None:
        raise KeysError(f"there is no key '{key_id}'; `proofsheet keys list` shows those that are")
    if entry.revoked is None:
        head = re.compile(rf"^(\s*\[\s*keys\s*\.\s*\"?{key_id}\"?\s*\][^\n]*\n)", re.MULTILINE)
        changed, places = head.subn(rf"\g<1>revoked = {_moment(now)}\n", text)
        if places != 1 or parse_keys(changed)[key_id].revoked is None:
            raise KeysError(f"the key '{key_id}' is not a table of its own: write `revoked` into it by hand")
        _write(path, changed)
    return entry


def _as_toml(entry: KeyEntry) -> str:
    """As the file has it: for words, numbers and lists of words, JSON is TOML."""
    lines: list[str] = []
    for name in KeyEntry.__struct_fields__:
        value = getattr(entry, name)
        if isinstance(value, datetime):
            lines.append(f"{name} = {_moment(value)}")
        elif value is not None:
            plain = sorted(entry.scopes) if isinstance(value, frozenset) else value
            lines.append(f"{name} = {msgspec.json.encode(plain).decode()}")
    return "\n".join(lines) + "\n"


def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and for its owner alone: a service that reads meanwhile sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
