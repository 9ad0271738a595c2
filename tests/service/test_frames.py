"""Frames come out whole, however the stream was cut, and nothing comes after one that is too long."""

import asyncio
import socket
import struct

import pytest

from service.frames import Frames

HEADER = struct.Struct(">I")
LIMIT = 50_000


def framed(*bodies: bytes) -> bytes:
    return b"".join(HEADER.pack(len(body)) + body for body in bodies)


async def read(stream: bytes, cut: int):
    """The bodies of `stream`, sent `cut` bytes at a time; and whether it ended for a body that was too long."""

    bodies: list[bytes] = []
    frames = Frames(HEADER, LIMIT, lambda body: bodies.append(bytes(body)))
    ours, theirs = socket.socketpair()
    await asyncio.get_running_loop().create_unix_connection(lambda: frames, sock=ours)
    with theirs:
        theirs.setblocking(False)
        for start in range(0, len(stream), cut):
            try:
                await asyncio.get_running_loop().sock_sendall(theirs, stream[start : start + cut])
            except ConnectionError:
                break
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await frames.ended
    frames.close()
    return bodies, frames.too_long


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 7, 1000])
async def test_bodies_are_whole_wherever_the_stream_was_cut(cut):
    bodies = [b"one", b"", b"x" * 50, b"", b"last"]
    assert await read(framed(*bodies), cut) == (bodies, False)


async def test_a_body_as_long_as_the_limit_passes_and_one_byte_more_ends_the_connection_unread():
    longest = bytes(LIMIT)
    assert await read(framed(longest, b"after"), 10_000) == ([longest, b"after"], False)
    assert await read(framed(b"before", longest + b"x", b"after"), 10_000) == ([b"before"], True)


@pytest.mark.parametrize("cut_off", [framed(b"whole")[:-1], HEADER.pack(9)[:2]], ids=["in a body", "in a header"])
async def test_what_ends_in_the_middle_of_a_frame_is_not_handed_over(cut_off):
    assert await read(framed(b"first") + cut_off, 100) == ([b"first"], False)


class Wire:
    """A transport that writes down what it is given."""

    def __init__(self):
        self.is_gone = False
        self.written = []

    def is_closing(self):
        return self.is_gone

    def write(self, data):
        self.written.append(data)


async def test_nothing_is_sent_before_there_is_anybody_or_to_who_has_gone():
    frames, wire = Frames(HEADER, LIMIT, lambda body: None), Wire()
    frames.send(b"before there is anybody")
    frames.connection_made(wire)
    frames.send(b"to who is there")
    wire.is_gone = True
    frames.send(b"after")
    assert wire.written == [b"to who is there"]
