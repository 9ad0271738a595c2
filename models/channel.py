"""The worker's end of the socket: whole messages in, whole messages out."""

import socket

from models.messages import HEADER, FromWorker, ToWorker, encode_frame, to_worker_decoder
from models.tray import take_over


class Channel:
    """One reader thread and one writer at a time; the front's end is asynchronous and lives in service/workers."""

    def __init__(self, connection: socket.socket, rail: socket.socket) -> None:
        """Trays come by `rail`, before the message that they belong to."""
        self._connection = connection
        self._decoder = to_worker_decoder(lambda: take_over(rail))

    def write(self, message: FromWorker) -> None:
        self._connection.sendall(encode_frame(message))

    def read(self) -> ToWorker | None:
        """The next message, or None when the other side has gone."""
        header = self._read_exactly(HEADER.size)
        body = self._read_exactly(HEADER.unpack(header)[0]) if header else None
        return self._decoder.decode(body) if body is not None else None

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
