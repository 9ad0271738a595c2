"""Where a face goes on the canvas: named framings, the selfie's own place, a pose photo."""

from typing import get_args

import numpy as np
import pytest

from models.adapters.adapter import Pose
from models.adapters.instantid.framing import place
from models.adapters.instantid.keypoints import draw_keypoints
from models.wire.groups import Framing
from tests.models.scenes import scene_of

FACE = np.array([(220, 300), (300, 310), (262, 350), (225, 395), (290, 400)], np.float32)
SELFIE = Pose(FACE, (180, 220, 340, 450), (640, 800))
LEFT, RIGHT, NOSE = 0, 1, 2
SIZES = [(832, 1216), (1216, 832), (896, 1152), (1024, 1024), (256, 256)]


def placed(framing="front", selfie=SELFIE, size=(832, 1216), pose=None):
    scene = scene_of(
        prompt="",
        negative_prompt=None,
        subject="person",
        width=size[0],
        height=size[1],
        steps=4,
        strength=1.0,
        guidance=1.0,
        framing=framing,
        pose=pose,
    )
    return place(scene, selfie)


def nose_offset(landmarks):
    """From the middle between the eyes, in distances between them; to the picture's right is positive."""
    return float((landmarks[NOSE] - landmarks[:2].mean(axis=0))[0] / (landmarks[RIGHT] - landmarks[LEFT])[0])


def height(face):
    return face.box[3] - face.box[1]


def test_front_looks_at_the_camera_from_the_middle_and_upright():
    face = placed("front")
    assert nose_offset(face.landmarks) == pytest.approx(0)
    assert face.landmarks[LEFT][1] == pytest.approx(face.landmarks[RIGHT][1])
    assert face.landmarks[:2].mean(axis=0)[0] == pytest.approx(832 / 2)


def test_slight_left_and_right_turn_the_nose_by_20_degrees_and_mirror_each_other():
    left, right = placed("slight-left").landmarks, placed("slight-right").landmarks
    turned = 0.5 * np.tan(np.radians(20))  # the measure of faces/measures.py
    assert nose_offset(left) == pytest.approx(-turned)
    assert nose_offset(right) == pytest.approx(turned)
    mirrored = right[[1, 0, 2, 4, 3]] * (-1, 1) + (832, 0)
    assert np.allclose(left, mirrored)


def test_closer_is_larger_and_wider_smaller_than_front():
    assert height(placed("wider")) < 0.75 * height(placed("front")) < 0.6 * height(placed("closer"))


def test_a_framing_copies_neither_size_nor_place_nor_turn_of_the_selfie():
    turned = np.array([(50, 60), (80, 70), (75, 80), (52, 95), (72, 100)], np.float32)
    other = Pose(turned, (40, 40, 90, 110), (300, 200))
    (x, _), (reference, _) = (placed("front", selfie=s).landmarks[LEFT] for s in (other, SELFIE))
    assert x == pytest.approx(reference)


def test_a_long_face_stays_long():
    long_face = Pose(FACE * (1, 1.08), SELFIE.box, SELFIE.size)
    drops = [
        (f.landmarks[3:].mean(axis=0) - f.landmarks[:2].mean(axis=0))[1] for f in (placed(), placed("front", long_face))
    ]
    assert 1.04 < drops[1] / drops[0] < 1.12


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("framing", get_args(Framing))
def test_the_whole_face_is_on_every_canvas(framing, size):
    x0, y0, x1, y1 = placed(framing, size=size).box
    assert 0 <= x0 < x1 <= size[0]
    assert 0 <= y0 < y1 <= size[1]


def test_selfie_keeps_the_faces_place_and_scales_it_with_the_canvas():
    face = placed("selfie", size=(1280, 1600))
    assert np.allclose(face.landmarks, FACE * 2)
    assert np.allclose(face.box, np.array(SELFIE.box) * 2)


def test_another_shape_of_canvas_bends_no_face():
    face = placed("selfie", size=(1216, 832)).landmarks
    ratio = np.linalg.norm(face[RIGHT] - face[NOSE]) / np.linalg.norm(face[LEFT] - face[NOSE])
    assert ratio == pytest.approx(np.linalg.norm(FACE[RIGHT] - FACE[NOSE]) / np.linalg.norm(FACE[LEFT] - FACE[NOSE]))


def test_a_pose_photo_wins_over_the_framing():
    pose = Pose(FACE + 40, (220, 260, 380, 490), (640, 800))
    assert np.allclose(placed("closer", pose=pose, size=(640, 800)).landmarks, FACE + 40)


def test_a_face_beyond_the_canvas_is_drawn_as_far_as_it_shows():
    drawn = draw_keypoints(np.array([(-50, -50), (60, 20), (30, 30), (-20, 60), (50, 60)]), 64, 64)
    assert drawn.shape == (64, 64, 3)
    assert tuple(drawn[30, 30]) == (0, 0, 255)
