"""What is done to a finished picture before it leaves."""

import numpy as np
import pytest
import torch

from models.finish.presenting import present

GREY = torch.full((96, 64, 3), 128, dtype=torch.uint8)  # 64 wide


def inked(picture):
    """Where a grey picture was written on, [H, W]."""
    return np.abs(picture.numpy().astype(int) - 128).max(axis=2) > 8


def test_a_picture_in_its_size_and_without_a_mark_is_left_alone():
    assert present(GREY, (64, 96), None) is GREY


@pytest.mark.parametrize("size", [(128, 192), (32, 48)])
def test_it_takes_the_size_asked_for(size):
    assert tuple(present(GREY, size, None).shape) == (size[1], size[0], 3)


def test_a_mark_crosses_the_middle_and_leaves_the_picture_to_be_seen():
    wide = torch.full((256, 256, 3), 128, dtype=torch.uint8)
    ink = inked(present(wide, (256, 256), "PROOF"))
    assert 0.05 < ink.mean() < 0.4
    assert ink[96:160, 96:160].mean() > 0.2  # whoever crops the face has it too
    lower_left, upper_right = ink[128:, :128], ink[:128, 128:]
    assert min(lower_left.mean(), upper_right.mean()) > 2 * max(ink[:128, :128].mean(), ink[128:, 128:].mean())


@pytest.mark.parametrize("ground", [0, 255])
def test_a_mark_shows_on_black_and_on_white(ground):
    plain = torch.full((128, 128, 3), ground, dtype=torch.uint8)
    marked = present(plain, (128, 128), "PROOF").numpy().astype(int)
    assert (abs(marked - ground) > 60).mean() > 0.02


@pytest.mark.parametrize("text", ["x", "PROOF", "a preview of a rather long company name", "Entwürfe Ø"])
@pytest.mark.parametrize("size", [(64, 96), (256, 64), (64, 64)])
def test_any_text_fits_any_picture(text, size):
    ink = inked(present(GREY, size, text))
    assert ink.any()
    edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    assert edge.mean() < 0.1


def test_the_given_pixels_are_not_written_on():
    before = GREY.clone()
    present(GREY, (64, 96), "PROOF")
    assert torch.equal(GREY, before)
