"""An API key becomes a caller, or a refusal that says what is wrong with it."""

import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from service.access.caller import Caller
from service.access.key_file import KEY_SHAPE, KeyEntry, keyed_hash, parse_keys, read_service_secret
from service.errors import Unauthorized
from service.watched_file import WatchedFile

NO_HASH = "0" * 64  # compared with where there is no such key, so that both answers take as long
HOW = "send one as `Authorization: Bearer ps_...` or `X-API-Key: ps_...`"


class Keys:
    """The keys of the service. Asks for the file's newest content every time; the wall clock decides on expiry."""

    def __init__(
        self,
        entries: Callable[[], Mapping[str, KeyEntry]],
        service_secret: bytes,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._entries = entries
        self._service_secret = service_secret
        self._clock = clock

    @classmethod
    def from_files(cls, keys: Path, secret: Path) -> "Keys":
        """Raises OSError, or KeysError, for what is wrong with either."""
        return cls(WatchedFile(keys, parse_keys).current, read_service_secret(secret))

    def identify(self, text: str) -> Caller:
        """Raises Unauthorized. Whether a key was revoked or is too old is told to those alone who have it."""
        match = KEY_SHAPE.fullmatch(text)
        if match is None:
            raise refusal("key_malformed", f"This is no API key of this service: {HOW}.")
        key_id, key_secret = match.groups()
        entry = self._entries().get(key_id)
        given = keyed_hash(self._service_secret, key_id, key_secret)
        if not hmac.compare_digest(given, NO_HASH if entry is None else entry.hash) or entry is None:
            raise refusal("key_unknown", "This API key is not known here: check that it was copied whole.")
        state = entry.state(self._clock())
        if state != "active":
            raise refusal(f"key_{state}", f"This API key is {state}: ask the operator for a new one.")
        return entry.as_caller(key_id)

    def derive_secret(self, purpose: str) -> bytes:
        """A secret of the service's own for another purpose; it lives as long as the file does."""
        return hmac.digest(self._service_secret, f"proofsheet {purpose}".encode(), "sha256")


def refusal(code: str, message: str) -> Unauthorized:
    """RFC 6750: no `error` where nothing was sent, `invalid_token` where it was of no use."""
    error = "" if code == "key_missing" else ', error="invalid_token"'
    return Unauthorized(code, message, headers={"WWW-Authenticate": f'Bearer realm="proofsheet"{error}'})
