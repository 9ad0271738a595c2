"""The worker's end of the socket: whole messages in, whole messages out."""

import logging
import socket

from models.wire.frames import HEADER, encode_frame, to_worker_decoder
from models.wire.messages import FromWorker, ToWorker
from models.wire.tray import Tray, take_over

log = logging.getLogger("proofsheet.worker")


class Channel:
    """One reader thread and one writer at a time; the front's end is asynchronous and lives in service/workers."""

    def __init__(self, connection: socket.socket, rail: socket.socket) -> None:
        """Trays come by `rail`, before the message that they belong to."""
        self._connection = connection
        self._rail = rail
        self._decoder = to_worker_decoder(self._next_tray)

    def write(self, message: FromWorker) -> None:
        self._connection.sendall(encode_frame(message))

    def read(self) -> ToWorker | None:
        """The next message, or None when the other side has gone or a tray was lost: then nothing fits any more."""
        header = self._read_exactly(HEADER.size)
        body = self._read_exactly(HEADER.unpack(header)[0]) if header else None
        try:
            return self._decoder.decode(body) if body is not None else None
        except (EOFError, OSError) as error:
            log.error("no pixels came with a message: %s", error)
            return None

    def _next_tray(self) -> Tray:
        tray = take_over(self._rail)
        if tray is None:  # the kernel drops a descriptor that a process has no room for
            raise OSError("the tray did not arrive; is the limit of open files reached?")
        return tray

    def _read_exactly(self, count: int) -> bytearray | None:
        data = bytearray(count)
        view, filled = memoryview(data), 0
        while filled < count:
            try:
                received = self._connection.recv_into(view[filled:])
            except OSError:
                return None
            if not received:
                return None
            filled += received
        return data
