"""Frames on a socket as asyncio sees them, read straight into memory of their own length.

A StreamReader makes four copies more of every byte, and a plain Protocol two.
"""

import asyncio
from collections.abc import Callable
from struct import Struct


class Frames(asyncio.BufferedProtocol):
    """Cuts a stream into bodies; each comes behind its length, in a header of 4 bytes."""

    def __init__(self, header: Struct, max_bytes: int, on_body: Callable[[bytearray], None]) -> None:
        """A body of more than `max_bytes` ends the connection, unread."""
        self._header = header
        self._max_bytes = max_bytes
        self._on_body = on_body
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.too_long = False  # was why it ended
        self._expect_header()

    def send(self, frame: bytes | bytearray | memoryview) -> None:
        """Nothing is sent to who has gone: `ended` tells."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # pyright: ignore[reportAttributeAccessIssue] - uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < len(self._buffer):
            return
        if self._in_header:
            (length,) = self._header.unpack(self._buffer)
            self._expect_body(length)
        else:
            self._hand_over()

    def _expect_header(self) -> None:
        self._in_header, self._buffer, self._filled = True, bytearray(self._header.size), 0

    def _expect_body(self, length: int) -> None:
        if length > self._max_bytes:
            self.too_long = True
            self._expect_header()
            self.close()
            return
        self._in_header, self._buffer, self._filled = False, bytearray(length), 0
        if length == 0:  # asyncio reads into no empty buffer
            self._hand_over()

    def _hand_over(self) -> None:
        body = self._buffer
        self._expect_header()
        self._on_body(body)
