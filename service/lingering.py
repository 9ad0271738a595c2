"""Closing a connection so that the answer arrives.

A refusal that is sent before the body was read leaves bytes behind in the socket, and closing on them makes the
kernel send a reset, which can throw away the answer on the client's side. So we say that nothing more is coming, read
and drop what still comes for a moment, and close when the client has closed (RFC 9112, section 9.6).
"""

import asyncio
from collections.abc import Callable
from typing import Any

LINGER_SECONDS = 2.0


class LingeringTransport:
    """Stands before a connection's transport and changes `close` alone. Belongs to one connection."""

    def __init__(self, transport: asyncio.Transport, has_unread: Callable[[], bool]) -> None:
        self.is_lingering = False
        self._transport = transport
        self._has_unread = has_unread
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if not self._has_unread():
            self._transport.close()
            return
        self.is_lingering = True
        self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def lost(self) -> None:
        """The connection is gone."""
        if self._timer is not None:
            self._timer.cancel()
