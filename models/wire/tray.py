"""Pixels that go from process to process by a descriptor: nobody in between copies them.

A front that read a 512x512 picture off its decoder's socket and wrote it to its worker's spent 0.5 of 2.1 ms of
processor time a request on that (scripts/bench_front.py).
"""

import contextlib
import mmap
import os
import socket
from typing import Self

_NAME = "proofsheet-pixels"  # for who looks into /proc; no file has it
_HERE, _NONE = b"t", b"-"


class Tray:
    """Anonymous memory of a fixed size, in no file system. It is gone with the last process that has it open.

    Only pages that were written take memory.
    """

    def __init__(self, descriptor: int) -> None:
        """Owns `descriptor` from now on."""
        self._descriptor = descriptor
        self._memory: mmap.mmap | None = None
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def empty(cls, size: int) -> Self | None:
        """None where the system has no such memory (it is Linux's) or this process has no descriptor left."""
        if not hasattr(os, "memfd_create"):
            return None
        import fcntl  # not on Windows

        with contextlib.suppress(OSError):
            tray = cls(os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
            os.truncate(tray._descriptor, size)
            tray.size = size
            # Else who has it could cut it off, and who reads it then would die of a bus error.
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
            fcntl.fcntl(tray._descriptor, fcntl.F_ADD_SEALS, seals)
            return tray
        return None

    def fill(self, data: bytes) -> None:
        """Raises ValueError if it is too small for `data`."""
        with mmap.mmap(self._descriptor, len(data)) as memory:
            memory[:] = data

    def read(self, num_bytes: int) -> memoryview:
        """The first `num_bytes`, where they are; ValueError if there are fewer. The view may outlive the tray."""
        if self._memory is None:
            self._memory = mmap.mmap(self._descriptor, self.size, prot=mmap.PROT_READ)
        if num_bytes > self.size:
            raise ValueError(f"{num_bytes} bytes were asked of a tray of {self.size}")
        return memoryview(self._memory)[:num_bytes]

    def __del__(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)


def hand_over(rail: socket.socket, tray: Tray | None) -> None:
    """Put `tray`, or that there is none, on the way. Raises OSError when the other end is gone or takes none."""
    if tray is None:
        rail.send(_NONE)
    else:
        socket.send_fds(rail, [_HERE], [tray._descriptor])  # pyright: ignore[reportPrivateUsage] - the class's own file


def take_over(rail: socket.socket) -> Tray | None:
    """What was handed over next; waits for it. Raises EOFError when the other end is gone."""
    said, descriptors, _, _ = socket.recv_fds(rail, 1, 1)
    if not said:
        raise EOFError("nobody hands trays over any more")
    return Tray(descriptors[0]) if descriptors else None
