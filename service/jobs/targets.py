"""Where a webhook may go: to a public address, over https, and to the very address that was looked at.

A service that sends requests where strangers say is a way into the network that it stands in. So a target is read by
one strict pattern (a second parser that reads it otherwise is half of all such holes), its name is resolved once for
every delivery, every address behind it must be public, and the connection goes to such an address and not to the name:
a name that answers differently a moment later changes nothing.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from service.errors import BadRequest

MAX_LENGTH = 2048
RESOLVE_SECONDS = 3.0
TARGET = re.compile(
    r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>[/?][!$-\[\]-~]*)?"  # printable, but for the quote, the fragment's # and the backslash
)
UNICAST = IPv6Network("2000::/3")  # all else is mapped, translated, local, multicast or not given out
Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Target:
    """A webhook's address, taken apart. Its path may be somebody's secret: it is in no repr."""

    scheme: str
    host: str  # as it was given, without brackets
    port: int
    path: str

    def __repr__(self) -> str:
        return f"Target({self.scheme}, port {self.port})"

    @property
    def host_field(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = (self.scheme, self.port) in (("https", 443), ("http", 80))
        return host if usual else f"{host}:{self.port}"


def parse_target(text: str, *, allow_loopback: bool) -> Target:
    """Raises BadRequest with a code webhook_*; the sentence never repeats the address."""
    if len(text) > MAX_LENGTH:
        raise refusal("webhook_malformed", f"The webhook's address has more than {MAX_LENGTH} characters.")
    match = TARGET.fullmatch(text)
    if match is None:
        raise refusal(
            "webhook_malformed",
            "The webhook is no address that is called here: send https://host/path in ASCII, with no user or password "
            "in it, and no fragment.",
        )
    scheme = match["scheme"]
    if scheme != "https" and not allow_loopback:
        raise refusal("webhook_not_https", "Webhooks are sent over https only.")
    port = int(match["port"] or (443 if scheme == "https" else 80))
    if port > 65535 or (port < 1024 and port not in (80, 443)):
        raise refusal("webhook_port", "Webhooks go to port 443, or to one from 1024 to 65535.")
    path = match["path"] or "/"
    return Target(scheme, match["host"].strip("[]"), port, path if path.startswith("/") else f"/{path}")


async def find_addresses(target: Target, resolve: Resolve, *, allow_loopback: bool) -> list[str]:
    """Every address of the target, all of them allowed. Raises BadRequest.

    A name that is not known and one of a private address get the same answer, so that nobody can ask here which names
    the network inside knows.
    """
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = [ipaddress.ip_address(text) for text in await resolve(target.host, target.port)]
    except (OSError, ValueError, TimeoutError):
        found = []
    if not found or not all(_is_allowed(address, target.scheme, allow_loopback) for address in found):
        raise refusal("webhook_not_public", "The webhook's host has no public address, or one that is not public.")
    return [str(address) for address in found]


async def resolve_name(host: str, port: int) -> list[str]:
    """The addresses that the system knows, in the order in which it would try them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: Address) -> bool:
    """One that belongs to somebody on the Internet, and to no one and nothing special."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    return address in UNICAST and address.is_global


def refusal(code: str, message: str) -> BadRequest:
    return BadRequest(code, message, extra={"field": "webhook"})


def _is_allowed(address: Address, scheme: str, allow_loopback: bool) -> bool:
    plain = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
    if allow_loopback and plain.is_loopback:
        return True
    return scheme == "https" and is_public(address)
