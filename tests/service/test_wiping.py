"""Callers' bytes that a thread makes have one owner at any time."""

import asyncio
import threading

import pytest

from service.memory import in_thread
from tests.service.harness import until


async def test_what_a_thread_makes_is_handed_over_as_it_is():
    assert await in_thread(lambda: [bytearray(b"face")], lambda made: made) == [b"face"]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_thread_makes_for_nobody_is_wiped(fails):
    made, proceed, began = bytearray(b"face"), threading.Event(), threading.Event()

    def make() -> list[bytearray]:
        began.set()
        proceed.wait(5)
        if fails:
            raise ValueError("refused, and wiped by who refuses")
        return [made]

    waiting = asyncio.create_task(in_thread(make, lambda buffers: buffers))
    await until(began.is_set)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert made == b"face"  # the thread still writes
    proceed.set()
    if not fails:
        await until(lambda: made == bytes(4))


async def test_what_a_thread_raises_is_raised():
    def refuse() -> list[bytearray]:
        raise ValueError("no picture")

    with pytest.raises(ValueError, match="no picture"):
        await in_thread(refuse, lambda made: made)
