"""An answer on its connection, in what uvicorn's own lacks: HTTP/1.0, and a way to ask whether its client is there."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"  # which every client passes over (RFC 9110, section 15.2.1)
COMMENT = b"3\r\n:\n\n\r\n"  # a chunk of its own in a stream of events, where lines with a colon say nothing


class AnswerCycle(RequestResponseCycle):
    """uvicorn's answer to one request.

    HTTP/1.0 has no chunks: a body of unknown length ends with its connection there (RFC 9112, section 6.3).
    """

    _is_open_ended = False
    _is_event_stream = False

    @property
    def is_http10(self) -> bool:
        return self.scope["http_version"] == "1.0"

    @property
    def says_nothing(self) -> bytes:
        """What can be sent between two pieces of the answer, or before it, and changes nothing for its reader."""
        if self.response_started:
            return COMMENT if self._is_event_stream and self.chunked_encoding else b""
        return b"" if self.is_http10 else INTERIM

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            fields = {name.lower(): value for name, value in message.get("headers", [])}
            self._is_event_stream = fields.get(b"content-type", b"").startswith(b"text/event-stream")
            self._is_open_ended = self.is_http10 and b"content-length" not in fields
            if self._is_open_ended:
                self.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._is_open_ended:
            self.expected_content_length = len(message.get("body", b""))  # each piece is all that was promised
        await super().send(message)
