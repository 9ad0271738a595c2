"""The photo judge on the astronaut and on what can go wrong with her photo."""

import cv2
import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS

from models.faces import Face, Judgement, PhotoLimits, Rgb, judge
from models.faces.judge import SeveralFaces

BOX = (178.1, 65.0, 269.5, 176.4)
EYES = float(np.linalg.norm(LANDMARKS[1] - LANDMARKS[0]))  # pixels between them


def face(shift: tuple[float, float] = (0, 0), scale: float = 1.0, measured: bool = True) -> Face:
    """Her face as YuNet finds it, after a crop by `shift` and a resize by `scale`."""
    x0, y0, x1, y1 = (float(scale * (edge - offset)) for edge, offset in zip(BOX, (*shift, *shift), strict=True))
    landmarks = ((LANDMARKS - shift) * scale).astype(np.float32)
    return Face((x0, y0, x1, y1), landmarks, 0.94, landmarks_measured=measured)


def judged(picture: Rgb, *faces: Face, several_faces: SeveralFaces = "largest") -> Judgement:
    return judge(picture, list(faces), PhotoLimits(), several_faces)


def blurred(share: float) -> Rgb:
    """By a Gaussian of `share` of the distance between the eyes."""
    return cv2.GaussianBlur(skimage.data.astronaut(), (0, 0), share * EYES).astype(np.uint8)


def lit(gain: float, lift: float = 0.0) -> Rgb:
    return np.clip(skimage.data.astronaut() * gain + lift, 0, 255).astype(np.uint8)


def resized(scale: float) -> Rgb:
    picture = cv2.resize(skimage.data.astronaut(), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return picture.astype(np.uint8)


def test_a_normal_photo_passes_with_what_was_measured():
    judgement = judged(skimage.data.astronaut(), face())

    assert judgement.is_ok
    assert (judgement.code, judgement.message, judgement.value, judgement.limit) == (None, "", None, None)
    report = judgement.report
    assert (report.verdict, report.faces_found, report.box) == ("ok", 1, BOX)
    assert report.score == pytest.approx(0.94)
    assert report.brightness == pytest.approx(0.66, abs=0.03)
    assert report.sharpness == pytest.approx(0.088, abs=0.01)
    assert report.yaw_degrees == pytest.approx(-2, abs=3)


@pytest.mark.parametrize(
    "picture",
    [blurred(0.02), blurred(0.03), lit(0.5), lit(0.35), lit(1.15, 10)],
    ids=["a little soft", "soft", "evening", "dim", "sunny"],
)
def test_an_ordinary_imperfect_photo_passes(picture: Rgb):
    assert judged(picture, face()).is_ok


def test_grain_is_not_taken_for_a_blur_nor_for_detail():
    grain = np.random.default_rng(0).normal(0, 8, (512, 512, 3))
    sharp = np.clip(skimage.data.astronaut() + grain, 0, 255).astype(np.uint8)
    soft = np.clip(blurred(0.07) + grain, 0, 255).astype(np.uint8)

    assert judged(sharp, face()).is_ok
    assert judged(soft, face()).code == "face_blurred"


def test_a_dark_photo_is_not_called_blurred():
    assert judged(lit(0.1), face()).code == "face_too_dark"
    assert judged(lit(0.3), face()).report.sharpness == pytest.approx(0.088, abs=0.01)


def test_no_face_says_what_photo_to_take():
    judgement = judged(skimage.data.coffee())

    assert judgement.code == judgement.report.verdict == "no_face"
    assert judgement.face is None
    assert (judgement.value, judgement.limit) == (0, 1)
    assert "whole face in view" in judgement.message


@pytest.mark.parametrize("share", [0.06, 0.1])
def test_a_blurred_face_is_refused_with_its_sharpness_and_the_limit(share: float):
    judgement = judged(blurred(share), face())

    assert judgement.code == "face_blurred"
    assert judgement.limit == PhotoLimits().min_sharpness
    assert judgement.value is not None
    assert judgement.value < PhotoLimits().min_sharpness
    assert "hold the camera still" in judgement.message


def test_a_dark_face_is_refused_with_its_brightness_in_the_sentence():
    judgement = judged(lit(0.2), face())

    assert judgement.code == "face_too_dark"
    assert judgement.message == (
        "The face is too dark (0.13, at least 0.18 is needed). "
        "Turn towards a window or a lamp and take the photo again."
    )


def test_dark_skin_in_good_light_is_not_a_dark_photo():
    picture = lit(0.2)
    x, y = LANDMARKS[2].astype(int)
    picture[y - 12 : y + 12, x - 3 : x + 3] = 150  # the shine on a nose
    for x, y in LANDMARKS[:2].astype(int):
        picture[y - 2 : y + 2, x - 6 : x + 6] = 160  # the white of the eyes

    judgement = judged(picture, face())

    assert judgement.report.brightness == pytest.approx(0.14, abs=0.02)
    assert judgement.is_ok


def test_a_burnt_out_face_is_refused():
    judgement = judged(lit(1.6, 40), face())

    assert judgement.code == "face_too_bright"
    assert judgement.value is not None
    assert judgement.value > PhotoLimits().max_brightness


def test_light_skin_that_is_not_burnt_out_passes():
    picture = lit(0.35, 160)

    judgement = judged(picture, face())

    assert judgement.report.brightness is not None
    assert judgement.report.brightness > PhotoLimits().max_brightness
    assert judgement.is_ok


def test_a_small_face_is_refused_with_its_size():
    judgement = judged(resized(0.5), face(scale=0.5))

    assert judgement.code == "face_too_small"
    assert judgement.value == pytest.approx(50, abs=2)
    assert "50 pixels across, at least 64 are needed" in judgement.message


@pytest.mark.parametrize(
    ("top", "left", "bottom", "right"),
    [(0, 205, 512, 512), (105, 0, 512, 512), (0, 0, 130, 512), (0, 0, 512, 240)],
    ids=["left", "top", "bottom", "right"],
)
def test_a_face_cut_off_by_any_edge_is_refused(top: int, left: int, bottom: int, right: int):
    judgement = judged(skimage.data.astronaut()[top:bottom, left:right], face(shift=(left, top)))

    assert judgement.code == "face_cut_off"
    assert "whole head in view" in judgement.message


def test_a_cropped_forehead_passes():
    assert judged(skimage.data.astronaut()[75:], face(shift=(0, 75))).is_ok


def test_a_face_turned_aside_is_refused_with_its_angle():
    landmarks = LANDMARKS.copy()
    landmarks[2, 0] = LANDMARKS[1, 0] + 0.1 * EYES  # the nose past the far eye
    profile = Face(BOX, landmarks, 0.9)

    judgement = judged(skimage.data.astronaut(), profile)

    assert judgement.code == "face_turned"
    assert judgement.value == pytest.approx(50, abs=2)
    assert "Look towards the camera" in judgement.message


def test_a_mean_shape_has_no_pose_and_says_so():
    judgement = judged(skimage.data.astronaut(), face(measured=False))

    assert judgement.is_ok
    assert judgement.report.yaw_degrees is None
    assert "Which way the face looks was not measured" in judgement.report.notes[-1]


def test_yaw_is_the_angle_the_landmarks_were_turned_by():
    head = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, 0.5, 0.5], [-0.4, 1, 0.1], [0.4, 1, 0.1]])  # x, y, depth
    angle = np.radians(25)
    turned = np.stack([head[:, 0] * np.cos(angle) + head[:, 2] * np.sin(angle), head[:, 1]], axis=1)
    landmarks = (turned * 60 + (224, 100)).astype(np.float32)

    report = judged(skimage.data.astronaut(), Face(BOX, landmarks, 0.9)).report

    assert report.yaw_degrees == pytest.approx(25, abs=0.5)


@pytest.fixture
def couple() -> tuple[Rgb, list[Face]]:
    """The astronaut beside her mirror image."""
    picture = skimage.data.astronaut()
    mirrored = LANDMARKS[[1, 0, 2, 4, 3]] * (-1, 1) + (1023, 0)
    other = Face((1024 - BOX[2], BOX[1], 1024 - BOX[0], BOX[3]), mirrored.astype(np.float32), 0.9)
    return np.concatenate([picture, picture[:, ::-1]], axis=1), [face(), other]


def test_of_several_faces_the_largest_is_used_and_said(couple: tuple[Rgb, list[Face]]):
    picture, faces = couple

    judgement = judged(picture, *faces)

    assert judgement.is_ok
    assert judgement.face is faces[0]
    assert judgement.report.faces_found == 2
    assert judgement.report.notes[0] == "There are 2 faces in the photo; the largest one is used."


def test_several_faces_are_refused_if_so_set(couple: tuple[Rgb, list[Face]]):
    picture, faces = couple

    judgement = judged(picture, *faces, several_faces="refuse")

    assert judgement.code == judgement.report.verdict == "several_faces"
    assert (judgement.value, judgement.limit) == (2, 1)
    assert "2 faces" in judgement.message


def test_a_passer_by_does_not_make_it_several_people(couple: tuple[Rgb, list[Face]]):
    picture, (first, _) = couple
    passer_by = face(shift=(-2000, 0), scale=0.3)

    assert judged(picture, first, passer_by, several_faces="refuse").is_ok


def test_a_wholly_missing_face_is_cut_off_and_breaks_nothing():
    judgement = judged(skimage.data.astronaut()[:64, :64], face())

    assert judgement.code == "face_cut_off"
    assert judgement.value == pytest.approx(1)


CUT = "The photo's file is cut off"


def test_a_photo_whose_file_was_cut_off_below_the_face_passes_with_a_note():
    judgement = judge(skimage.data.astronaut()[:300], [face()], PhotoLimits(), "largest", truncated=True)

    assert judgement.is_ok
    assert judgement.report.notes[0] == f"{CUT}; what arrived of it is used."


@pytest.mark.parametrize(
    ("picture", "faces"),
    [
        (skimage.data.astronaut()[:60], []),
        (skimage.data.astronaut()[:120], [face()]),
        (blurred(0.06), [face()]),
    ],
    ids=["nothing of the face", "half of the face", "little of its detail"],
)
def test_what_a_photo_lacks_because_its_file_was_cut_off_is_said_so(picture: Rgb, faces: list[Face]):
    judgement = judge(picture, faces, PhotoLimits(), "largest", truncated=True)

    assert judgement.code == judgement.report.verdict == "image_truncated"
    assert judgement.message.startswith(CUT)


def test_what_has_nothing_to_do_with_a_cut_file_keeps_its_name():
    judgement = judge(lit(0.15), [face()], PhotoLimits(), "largest", truncated=True)

    assert judgement.code == "face_too_dark"
