"""Requests that offer another protocol are read as the HTTP/1.1 that they are.

`Upgrade: h2c` is what Java's HttpClient and `curl --http2` send with every request, its body behind it, and a server
may ignore the offer (RFC 9110, section 7.8). httptools stops at such a head and drops the body.
"""

from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class RequestParser:
    """httptools' parser, which starts again with the same head, less the field Upgrade, where a request has an offer.

    The head has passed the parser's checks then, and passes them again: what is refused without an offer is refused
    with one. CONNECT is no offer, and is left to the protocol. Belongs to one connection.
    """

    def __init__(self, protocol: HttpToolsProtocol) -> None:
        self._protocol = protocol
        self._parser = self._fresh()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)

    @property
    def has_offer(self) -> bool:
        """Whether the request whose head is complete will be read again."""
        return self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT"

    def feed_data(self, data: bytes) -> None:
        """Raises HttpParserError."""
        rest = memoryview(data)
        while True:
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as stopped:
                if not self.has_offer:
                    raise
                head = self._head_without_offer()
                rest = rest[stopped.args[0] :]
            self._parser = self._fresh()
            self._parser.feed_data(head)

    def _fresh(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self._protocol)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        return parser

    def _head_without_offer(self) -> bytes:
        """A value that was folded over lines has none of their ends."""
        protocol, method, version = self._protocol, self._parser.get_method(), self._parser.get_http_version()
        fields = [name + b": " + value for name, value in protocol.headers if name != b"upgrade"]
        return b"\r\n".join([method + b" " + protocol.url + b" HTTP/" + version.encode(), *fields, b"", b""])


class OfferlessProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, for which a request with an offer begins when its head comes without it."""

    parser: RequestParser  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.parser = RequestParser(self)

    def on_headers_complete(self) -> None:
        if not self.parser.has_offer:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.has_offer:
            super().on_message_complete()
