"""Pixels go from process to process on trays: in order, of the size they said, and gone with the last who has them."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from models.wire.channel import Channel
from models.wire.frames import encode_frame
from models.wire.order import Order
from models.wire.picture import Picture
from models.wire.tray import Tray, receive_tray, send_tray
from tests.orders import order_of

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="trays are Linux's")

SIZE = 10_000
JOB = {"job_id": "1", "prompt": "", "seeds": [1], "deadline_seconds": 1.0}


def filled(data: bytes) -> Tray:
    tray = Tray.empty(SIZE)
    assert tray is not None
    tray.fill(data)
    return tray


def picture(number: int) -> Picture:
    return Picture(width=number, height=2, tray=filled(bytes([number]) * number * 6))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def tray_socket():
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def test_what_was_put_on_a_tray_is_read_at_the_other_end_and_in_order(tray_socket):
    for data in (b"first", b"second"):
        send_tray(tray_socket[0], filled(data))
    send_tray(tray_socket[0], None)
    taken = [receive_tray(tray_socket[1]) for _ in range(3)]
    assert [None if tray is None else bytes(tray.read(5)) for tray in taken] == [b"first", b"secon", None]


def test_another_process_fills_a_tray_that_is_read_here(tray_socket):
    tray = Tray.empty(SIZE)
    assert tray is not None
    code = (
        "import socket, sys; from models.wire.tray import *; "
        "receive_tray(socket.socket(fileno=int(sys.argv[1]))).fill(b'hi')"
    )
    send_tray(tray_socket[0], tray)
    root = Path(__file__).resolve().parents[3]
    number = tray_socket[1].fileno()
    subprocess.run([sys.executable, "-c", code, str(number)], pass_fds=(number,), check=True, timeout=60, cwd=root)
    assert bytes(tray.read(3)) == b"hi\0"


@pytest.mark.parametrize("size", [1, 2 * SIZE])
def test_who_has_a_tray_can_neither_cut_it_off_nor_let_it_grow(tray_socket, size):
    send_tray(tray_socket[0], filled(b"x"))
    _, [descriptor], _, _ = socket.recv_fds(tray_socket[1], 1, 1)
    with pytest.raises(PermissionError):
        os.truncate(descriptor, size)
    os.close(descriptor)


def test_nothing_is_written_or_read_beyond_a_trays_end():
    tray = filled(b"x")
    with pytest.raises(ValueError):
        tray.fill(bytes(SIZE + 1))
    with pytest.raises(ValueError, match=f"tray of {SIZE}"):
        tray.read(SIZE + 1)


def test_a_tray_that_nobody_has_any_more_leaves_no_descriptor_and_its_view_stays_readable():
    before = open_descriptors()
    view = filled(b"kept").read(4)
    assert bytes(view) == b"kept"
    view.release()
    assert open_descriptors() == before


def test_without_a_descriptor_to_spare_there_is_no_tray(monkeypatch):
    def full(*_: object) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", full)
    assert Tray.empty(SIZE) is None


def test_an_end_that_is_gone_is_noticed_at_both_sides(tray_socket):
    tray_socket[0].close()
    with pytest.raises(EOFError):
        receive_tray(tray_socket[1])
    with pytest.raises(OSError):
        send_tray(tray_socket[0], None)


def test_a_job_s_trays_reach_its_worker_each_in_the_picture_that_it_belongs_to(tray_socket):
    ours, theirs = socket.socketpair()
    inline = Picture(width=1, height=1, rgb=b"abc")
    selfies = [picture(3), inline, picture(7)]
    job = order_of(**JOB, selfies=selfies, pose=picture(5))
    trays: list[Tray] = []
    frame = encode_frame(job, trays.append)
    for tray in trays:
        send_tray(tray_socket[0], tray)
    ours.sendall(frame)
    with ours, theirs:
        read = Channel(theirs, tray_socket[1]).read()
    assert isinstance(read, Order)
    photos = read.photos
    assert photos.pose is not None
    assert [bytes(p.pixels) for p in (*photos.selfies, photos.pose)] == [
        b"\3" * 18,
        b"abc",
        b"\7" * 42,
        b"\5" * 30,
    ]
    assert len(frame) < 1000


@pytest.mark.parametrize("loss", ["not sent", "front gone"])
def test_a_message_whose_tray_does_not_come_ends_the_channel(tray_socket, loss):
    """A worker then stops, as when its front has gone: waiting for the next message would mix up the pictures."""
    ours, theirs = socket.socketpair()
    ours.sendall(encode_frame(order_of(**JOB, selfies=[picture(3)]), lambda tray: None))
    if loss == "not sent":
        send_tray(tray_socket[0], None)
    else:
        tray_socket[0].close()
    with ours, theirs:
        assert Channel(theirs, tray_socket[1]).read() is None


def test_a_frame_that_would_leave_its_trays_behind_is_not_written():
    job = order_of(**JOB, selfies=[picture(3)])
    with pytest.raises(NotImplementedError, match="Tray"):
        encode_frame(job)
