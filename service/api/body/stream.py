"""A request's bytes as they come."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from litestar import Request

from service.api.body.expected import Bound
from service.api.presence import ClientLeft
from service.errors import TooLarge

HttpRequest = Request[Any, Any, Any]


class Stream:
    """The request's body, chunk by chunk, within a bound that is checked against Content-Length first.

    `note` is told of every chunk's length. Reads `receive` itself: the handler must bind no body. Raises TooLarge;
    ClientLeft when the caller hangs up.
    """

    def __init__(self, request: HttpRequest, bound: Bound, note: Callable[[int], None]) -> None:
        self._receive = request.receive
        self._bound = bound
        self._note = note
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit():
            self._refuse_over(int(declared[:20]))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received, more = 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientLeft
            assert event["type"] == "http.request"
            chunk, more = event.get("body", b""), event.get("more_body", False)
            received += len(chunk)
            self._note(len(chunk))
            self._refuse_over(received)
            if chunk:
                yield chunk

    async def read_into(self, buffer: bytearray) -> None:
        """All that is left of it."""
        async for chunk in self:
            buffer += chunk

    def _refuse_over(self, num_bytes: int) -> None:
        bound = self._bound
        if num_bytes > bound.max_bytes:
            message = f"The body has more than {bound.max_bytes} bytes: {bound.advice}."
            raise TooLarge(bound.code, message, value=num_bytes, limit=bound.max_bytes)
