"""What a caller sends a front, and the connection it keeps open."""

import asyncio
import contextlib
import io
import re

import skimage.data
from PIL import Image

LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def astronaut(side: int) -> bytes:
    """scikit-image's photograph of the astronaut Eileen Collins (NASA, public domain) as a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((side, side)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def request(target: str, content_type: str, body: bytes, accept: str) -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: front\r\nContent-Type: {content_type}\r\nAccept: {accept}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """Kept open over many requests, one at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))

    async def begin(self, request: bytes) -> None:
        """Until the answer begins, whose body is never read. Raises AssertionError for any status but 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head

    async def ask(self, request: bytes) -> bytes:
        """The answer's body. Raises AssertionError for any status but 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = LENGTH.search(head)
        assert length is not None, head
        body = await self._reader.readexactly(int(length[1]))
        assert head.startswith(b"HTTP/1.1 200"), body[:500]
        return body

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
