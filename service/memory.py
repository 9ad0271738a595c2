"""What the front asks of its own memory: no part of it in a file, large buffers without a page fault each, and
callers' bytes overwritten when they are needed no more."""

import asyncio
import ctypes
import resource
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

# glibc's mallopt (malloc.h). Without these every selfie's pixels are mapped, faulted in and given back several times
# on their way: a 1024 x 1024 selfie then costs 11 ms of CPU in the front instead of 5 (scripts/bench_front.py).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
KEPT_BYTES = 24 << 20
MAPPED_FROM_BYTES = 16 << 20


def forbid_core_dumps() -> None:
    """For this process and its workers: memory holds faces."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def keep_freed_pages() -> None:
    """Let the allocator keep some freed memory for the next selfie. Does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)


async def in_thread(make: Callable[[], T], buffers_of: Callable[[T], Iterable[bytearray]]) -> T:
    """What `make` returns, made in a thread. If the caller is cancelled meanwhile, nobody gets it: its buffers are then
    wiped when the thread is done."""

    def wipe_result(made: asyncio.Task[T]) -> None:
        if not made.cancelled() and made.exception() is None:
            wipe(buffers_of(made.result()))

    making = asyncio.create_task(asyncio.to_thread(make))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(wipe_result)
        raise


def wipe(buffers: Iterable[bytearray]) -> None:
    for buffer in buffers:
        buffer[:] = bytes(len(buffer))
