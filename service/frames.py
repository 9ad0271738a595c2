"""Frames from a child process, read straight into memory of their own length.

An asyncio.StreamReader makes four copies more of every byte; for the pixels of a 512x512 picture they took 0.9 ms of
the front's processor time, of 2.3 for the whole request (scripts/bench_front.py).
"""

import asyncio
from typing import cast

from service.decoding import HEADER


class FrameTooLong(Exception):
    """A frame that no honest child sends. It is not read."""


class Frames(asyncio.BufferedProtocol):
    """Asyncio's side of a stream of frames: 4 bytes of length, then a body. One reader at a time.

    Holds one whole frame at the most: what follows stays with the system until that one has been taken.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` of a body."""
        self._max_bytes = max_bytes
        self._settled = asyncio.Event()  # a frame is whole, or there will be none
        self._problem: Exception | None = None
        self._await_header()

    @property
    def ended(self) -> bool:
        """False until the end has been noticed."""
        return isinstance(self._problem, EOFError)

    async def take(self) -> bytearray:
        """The next frame's body. Raises EOFError where the stream ends before, FrameTooLong."""
        await self._settled.wait()
        if self._problem is not None:
            raise self._problem
        body = self._buffer
        self._settled.clear()
        self._await_header()
        self._transport.resume_reading()
        return body

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.ReadTransport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled == len(self._buffer):
            if self._in_header:
                self._await_body(*HEADER.unpack(self._buffer))
            else:
                self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._problem = self._problem or EOFError()
        self._settled.set()

    def _await_header(self) -> None:
        self._in_header, self._buffer, self._filled = True, bytearray(HEADER.size), 0

    def _await_body(self, length: int) -> None:
        if length > self._max_bytes:
            self._problem = FrameTooLong()
            self._settle()
            return
        self._in_header, self._buffer, self._filled = False, bytearray(length), 0
        if length == 0:
            self._settle()

    def _settle(self) -> None:
        self._transport.pause_reading()
        self._settled.set()
