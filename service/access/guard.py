"""The layer in front of every route: finds out who calls, says who may not, and tells what is left of a quota.

What a route asks for is its own business: `opt=OPEN` for probes and documents, `opt=ADMIN` for what is about the whole
service, and a valid key, of whatever scope, where it says nothing. What a key may *do* is asked later, by `require`.
The guard sits inside the routing, so a refusal has the form of the route's surface; it runs before any
byte of a body is read.
"""

from typing import Any, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from service.access.caller import ANONYMOUS, NOBODY, SCOPE_KEY, Caller, require
from service.access.key_file import KEY_PREFIX
from service.access.keys import HOW, Keys, refusal
from service.access.quota import Quotas

OPEN = {"access": "open"}
ADMIN = {"access": "admin"}


class Guard:
    """Wraps a route. Without keys everyone is ANONYMOUS and may do everything."""

    def __init__(self, app: ASGIApp, keys: Keys | None, quotas: Quotas) -> None:
        self._app = app
        self._keys = keys
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = ANONYMOUS if self._keys is None else _identify(scope, self._keys)
        cast(dict[str, Any], scope)[SCOPE_KEY] = caller

        async def send_with_quota(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = self._quotas.fields(caller)
                added = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self._app(scope, receive, send_with_quota)


def _identify(scope: Scope, keys: Keys) -> Caller:
    access = scope["route_handler"].opt.get("access", "key")
    if access == "open":
        return NOBODY
    caller = keys.identify(_key_in(scope["headers"]))
    if access == "admin":
        require(caller, "admin")
    return caller


def _key_in(headers: Any) -> str:
    """The one key that the request brings. Raises Unauthorized for none, and for two of ours that differ.

    What a proxy or a gateway adds on its way, a password or a key of its own, does not hide ours beside it.
    """
    authorizations = [value for name, value in headers if name == b"authorization"]
    sent = {_bearer(value) for value in authorizations}
    sent |= {value.decode("latin-1").strip() for name, value in headers if name == b"x-api-key"}
    ours = {text for text in sent if text.startswith(KEY_PREFIX)}
    if len(ours) > 1:
        raise refusal("key_ambiguous", "The request brings several API keys: send one.")
    if not authorizations and sent <= {""}:
        raise refusal("key_missing", f"This needs an API key: {HOW}.")
    if not ours and sent <= {""}:
        raise refusal("key_malformed", f"Only the scheme Bearer is read here, and a key after it: {HOW}.")
    return max(ours or sent)


def _bearer(value: bytes) -> str:
    """What follows the scheme; empty for a scheme of which we read nothing."""
    scheme, _, rest = value.decode("latin-1").strip().partition(" ")
    return rest.strip() if scheme.lower() in ("bearer", "token") else ""  # Token: older clients of Replicate
