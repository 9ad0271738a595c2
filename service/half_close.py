"""Clients that have said all they have to say, and close their side of the connection while they wait for the answer.

A client that has left looks the same: both send FIN. But one that waits reads what is sent to it, and the kernel of
one that has left answers with a reset. So something that says nothing is sent from time to time until the answer is
complete, and the connection's state is looked at. HTTP/1.0 has nothing of that kind, and is what proxies speak, which
never close one side: there the client has left.
"""

import asyncio
import socket
from typing import Any, cast

from service.cycle import AnswerCycle
from service.offers import OfferlessProtocol

TCP_CLOSE = 7  # a connection's state after a reset, the first byte of Linux's tcp_info
FIRST_LOOK_SECONDS, MAX_LOOK_SECONDS = 0.05, 5.0  # each look is four times as late as the one before


class HalfCloseProtocol(OfferlessProtocol):
    """uvicorn's HTTP protocol, which by itself takes whoever closes one side for gone. Belongs to one connection."""

    cycle: AnswerCycle  # pyright: ignore[reportIncompatibleVariableOverride]
    _look: asyncio.TimerHandle | None = None

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        cycle: Any = self.cycle
        if cycle is not None:
            cycle.__class__ = AnswerCycle  # uvicorn takes no class of ours; its task has not begun to run

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - asyncio's own type
        """Whether the connection stays, because a whole request waits for its answer on it."""
        cycle = cast(AnswerCycle | None, self.cycle)
        if cycle is None or cycle.response_complete or cycle.more_body or cycle.is_http10:
            return False
        if not hasattr(socket, "TCP_INFO"):
            return False
        self._ask_whether_there(FIRST_LOOK_SECONDS)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        was_last = not self.pipeline
        super().on_response_complete()
        if self._look is not None and was_last:
            self.transport.close()

    def _ask_whether_there(self, seconds: float) -> None:
        if not self.pipeline and (nothing := self.cycle.says_nothing):
            self.transport.write(nothing)
        self._look = self.loop.call_later(seconds, self._look_whether_reset, seconds)

    def _look_whether_reset(self, seconds: float) -> None:
        connection = cast(socket.socket, self.transport.get_extra_info("socket"))
        if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_CLOSE:
            self.transport.abort()
        else:
            self._ask_whether_there(min(4 * seconds, MAX_LOOK_SECONDS))
