"""Alignment against insightface's own, and its two properties that the rest builds on."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS

from models.faces.align import TEMPLATE_SIZE, aligned, moved, similarity

GOLDEN = Path(__file__).parents[2] / "golden" / "faces" / "insightface.npz"


def test_similarity_equals_insightfaces():
    golden = np.load(GOLDEN)

    matrix = similarity(LANDMARKS)

    assert matrix == pytest.approx(golden["matrix"], abs=1e-4)  # theirs is solved in float32: 2e-5 off


def test_aligned_crop_equals_insightfaces_to_one_level():
    golden = np.load(GOLDEN)

    crop = aligned(skimage.data.astronaut(), LANDMARKS)

    assert np.abs(crop.astype(int) - golden["crop"]).max() <= 1


def test_similarity_undoes_turn_scale_and_shift():
    angle, scale, shift = np.radians(30), 2.5, (40, -7)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    template = moved(LANDMARKS, similarity(LANDMARKS))

    elsewhere = template @ turn.T + shift

    assert moved(elsewhere, similarity(elsewhere)) == pytest.approx(template, abs=1e-3)


def test_landmarks_in_one_point_still_give_a_matrix():
    matrix = similarity(np.full((5, 2), 9.0))

    assert np.isfinite(matrix).all()


def test_smooth_crop_of_an_enlarged_picture_equals_the_crop_of_the_original():
    picture = skimage.data.astronaut()
    large = picture.repeat(6, axis=0).repeat(6, axis=1)

    crop = aligned(large, LANDMARKS * 6 + 2.5, smooth=True)

    difference = np.abs(crop.astype(int) - aligned(picture, LANDMARKS))
    assert difference.mean() < 3  # levels of 255; plain sampling of the enlargement's blocks gives the same picture


def test_what_lies_outside_the_picture_is_black():
    crop = aligned(skimage.data.astronaut()[:, 230:], LANDMARKS - (230, 0))

    assert crop.shape == (TEMPLATE_SIZE, TEMPLATE_SIZE, 3)
    assert not crop[:, :20].any()
