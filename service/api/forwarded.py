"""What a proxy says of the address that its caller used: scheme, host and prefix. Believed of trusted proxies alone.

`X-Forwarded-Proto`, `X-Forwarded-Host` and `X-Forwarded-Prefix`, as proxies set them; of a list the last entry, which
is the nearest proxy's own word. Addresses in answers are made of them. Who calls is told by API keys, so no client's
address is read here.
"""

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from litestar.types import ASGIApp, Receive, Scope, Send

PROTO, HOST, PREFIX = b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix"
SHAPES = {
    PROTO: re.compile(rb"https?"),
    HOST: re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?"),
    PREFIX: re.compile(rb"(/(?!\.+(/|$))[A-Za-z0-9._~-]{1,64}){0,8}/?"),
}
ROOT_PATH = "app_root_path"  # Litestar's: in base_url, and not taken off the path as ASGI's root_path would be


class Forwarded:
    """Wraps an ASGI application; what follows sees the caller's scheme and host, and `prefix_of` tells the rest."""

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self._app = app
        networks = [ipaddress.ip_network(text) for text in trusted]

        @lru_cache(maxsize=1024)
        def is_trusted(peer: str) -> bool:
            address = ipaddress.ip_address(peer.partition("%")[0])  # of a socket, and so always an address
            mapped = address.ipv4_mapped if address.version == 6 else None  # a socket of both families says it so
            return any((mapped or address) in network for network in networks)

        self._is_trusted = is_trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            told = {name: value for name, value in scope["headers"] if name in SHAPES}
            peer = scope["client"]
            if told and peer is not None and self._is_trusted(peer[0]):
                _apply(cast(dict[str, Any], scope), told)
        await self._app(scope, receive, send)


def prefix_of(scope: Scope) -> str:
    """What stands before our paths in the caller's address: empty, or `/shop/proofs`."""
    return str(cast(dict[str, Any], scope).get(ROOT_PATH, ""))


def _apply(scope: dict[str, Any], told: dict[bytes, bytes]) -> None:
    """What has not its shape is left out: it would be an address that nobody can use."""
    nearest = {name: value.rpartition(b",")[2].strip() for name, value in told.items()}
    nearest[PROTO] = nearest.get(PROTO, b"").lower()
    good = {name: value for name, value in nearest.items() if SHAPES[name].fullmatch(value)}
    if PROTO in good:
        scope["scheme"] = good[PROTO].decode()
    if HOST in good:
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"host"]
        scope["headers"].append((b"host", good[HOST]))
    if PREFIX in good:
        scope[ROOT_PATH] = good[PREFIX].decode().rstrip("/")
