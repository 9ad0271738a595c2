"""The worker's end of the socket: whole messages in, whole messages out."""

import logging
import socket

from models.wire.frames import HEADER, encode_frame, to_worker_decoder
from models.wire.messages import FromWorker, ToWorker
from models.wire.tray import Tray, receive_tray

log = logging.getLogger("proofsheet.worker")


class Channel:
    """Reads and writes messages; one reader thread and one writer at a time. The front's end is in service/workers."""

    def __init__(self, connection: socket.socket, tray_socket: socket.socket) -> None:
        """Trays arrive on `tray_socket`, before the message that they belong to."""
        self._connection = connection
        self._tray_socket = tray_socket
        self._decoder = to_worker_decoder(self._next_tray)

    def write(self, message: FromWorker) -> None:
        self._connection.sendall(encode_frame(message))

    def read(self) -> ToWorker | None:
        """Wait for the next message; None when the other side is gone or a tray was lost, which ends the connection."""
        header = self._read_exactly(HEADER.size)
        body = self._read_exactly(HEADER.unpack(header)[0]) if header else None
        try:
            return self._decoder.decode(body) if body is not None else None
        except (EOFError, OSError) as error:
            log.error("no pixels came with a message: %s", error)
            return None

    def _next_tray(self) -> Tray:
        tray = receive_tray(self._tray_socket)
        if tray is None:  # at the limit of open files the kernel drops the descriptor
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
