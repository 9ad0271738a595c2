"""Pixels in shared memory, passed between processes as a file descriptor, so that they are never copied on the way.

Copying a 512x512 picture from the decoder's socket to the worker's took 0.5 of the front's 2.1 ms of CPU time per
request (scripts/bench_front.py).
"""

import contextlib
import mmap
import os
import socket
from typing import Self

_NAME = "proofsheet-pixels"  # shown in /proc; no file has it
_HERE, _NONE = b"t", b"-"


class Tray:
    """Anonymous memory of a fixed size (memfd), freed when the last process that has it open closes it.

    Only pages that were written take memory.
    """

    def __init__(self, descriptor: int) -> None:
        """Owns `descriptor` from now on."""
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def empty(cls, size: int) -> Self | None:
        """Allocate `size` bytes; None where the system has no memfd (only Linux has) or no descriptor is left."""
        if not hasattr(os, "memfd_create"):
            return None
        import fcntl  # not on Windows

        with contextlib.suppress(OSError):
            tray = cls(os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
            os.truncate(tray._descriptor, size)
            tray.size = size
            # Otherwise another process could shrink it, and reading it would end in SIGBUS.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(tray._descriptor, fcntl.F_ADD_SEALS, seals)
            return tray
        return None

    def fill(self, data: bytes) -> None:
        """Write `data` to its start. Raises ValueError if it is too small."""
        with mmap.mmap(self._descriptor, len(data)) as memory:
            memory[:] = data

    def read(self, num_bytes: int) -> memoryview:
        """The first `num_bytes`, not copied; the view may outlive the tray. Raises ValueError if there are fewer."""
        if self._memory is None:
            self._memory = mmap.mmap(self._descriptor, self.size, prot=mmap.PROT_READ)
        if num_bytes > self.size:
            raise ValueError(f"{num_bytes} bytes were asked of a tray of {self.size}")
        return memoryview(self._memory)[:num_bytes]

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def send_tray(tray_socket: socket.socket, tray: Tray | None) -> None:
    """Send `tray`, or a marker for none. Raises OSError when the other end is gone or its buffer is full."""
    if tray is None:
        tray_socket.send(_NONE)
    else:
        socket.send_fds(tray_socket, [_HERE], [tray._descriptor])  # pyright: ignore[reportPrivateUsage] - the class's own file


def receive_tray(tray_socket: socket.socket) -> Tray | None:
    """Wait for the next tray; None if its marker came. Raises EOFError when the other end is gone."""
    said, descriptors, _, _ = socket.recv_fds(tray_socket, 1, 1)
    if not said:
        raise EOFError("the other end of the tray socket is closed")
    return Tray(descriptors[0]) if descriptors else None
