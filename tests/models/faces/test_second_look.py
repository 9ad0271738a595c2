"""Photos in which one look finds nothing: on their side, filled by the face, or with a face that is small in them."""

import cv2
import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS

from models.faces import Face, PhotoLimits, Rgb, judge
from models.faces.analyzer import Analyzer
from models.faces.bundled import load_bundled
from models.faces.face_cache import FaceCache, upright
from models.faces.second_look import looks, turned
from models.weights.manifest import PACKAGE
from models.wire.picture import Picture

FACE = (178, 65, 270, 176)  # x0, y0, x1, y1 of the astronaut's


@pytest.fixture(scope="module")
def analyzer() -> Analyzer:
    return load_bundled(PACKAGE / "tiny", device="cpu", threads=1)


def astronaut(turns: int = 0) -> Rgb:
    return turned(skimage.data.astronaut(), turns)


def cropped(inwards: int, zoom: float) -> Rgb:
    x0, y0, x1, y1 = FACE
    face = skimage.data.astronaut()[y0 + inwards : y1 - inwards, x0 + inwards : x1 - inwards]
    return cv2.resize(face, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def pasted(face_pixels: int, background: Rgb, corner: tuple[int, int]) -> Rgb:
    """The astronaut in a picture of 1536x1152, her face so large."""
    scene = cv2.resize(background, (1536, 1152)).astype(np.uint8)
    person = cv2.resize(
        skimage.data.astronaut(), None, fx=face_pixels / 105, fy=face_pixels / 105, interpolation=cv2.INTER_AREA
    )
    (left, top), (height, width) = corner, person.shape[:2]
    scene[top : top + height, left : left + width] = person
    return scene


class CountingDetector:
    """Answers by the number of the look: 0 the photo itself, 1 the border, then the turns."""

    sides = ()

    def __init__(self, scores: dict[int, float]) -> None:
        self.scores = scores
        self.shapes: list[tuple[int, ...]] = []

    def detect(self, picture: Rgb) -> list[Face]:
        self.shapes.append(picture.shape)
        score = self.scores.get(len(self.shapes) - 1)
        return [] if score is None else [Face((30.0, 40.0, 130.0, 140.0), LANDMARKS, score)]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_photo_on_its_side_or_head_is_seen_upright(analyzer: Analyzer, turns: int):
    [direct], [face] = analyzer.analyze(astronaut()), analyzer.analyze(astronaut(turns))

    assert (direct.turns, face.turns) == (0, 4 - turns)
    assert face.box == direct.box
    assert np.array_equal(face.landmarks, direct.landmarks)
    assert face.embedding is not None
    assert direct.embedding is not None
    assert np.array_equal(face.embedding, direct.embedding)


def test_a_turned_photo_passes_with_a_note(analyzer: Analyzer):
    photo = astronaut(1)[:, :400]
    faces = analyzer.analyze(photo)
    shown = upright(Picture(width=400, height=512, rgb=np.ascontiguousarray(photo).tobytes()), faces[0])
    judgement = judge(astronaut()[:400], faces, PhotoLimits(), "largest")

    assert shown.rgb == astronaut()[:400].tobytes()
    assert judgement.is_ok
    assert judgement.report.notes[0].startswith("The photo was turned by 270 degrees")


@pytest.mark.parametrize(("inwards", "zoom"), [(0, 5), (5, 3), (9, 6)])
def test_a_face_that_fills_the_frame_is_found(analyzer: Analyzer, inwards: int, zoom: float):
    photo = cropped(inwards, zoom)
    [face] = analyzer.analyze(photo)

    assert face.turns == 0
    x, y = (LANDMARKS[2] - FACE[:2] - inwards) * zoom  # the nose's tip
    assert face.landmarks[2] == pytest.approx((x, y), abs=0.15 * face.size)


@pytest.mark.parametrize("zoom", [2])
def test_a_face_that_fills_the_frame_and_is_all_there_is_used(analyzer: Analyzer, zoom: float):
    """Cropped to the box that another detector fits to it."""
    photo = cropped(0, zoom)
    assert judge(photo, analyzer.analyze(photo), PhotoLimits(), "largest").is_ok


@pytest.mark.parametrize(
    ("pixels", "background", "corner"),
    [(44, "coffee", (400, 300)), (40, "grey", (900, 500))],
)
def test_a_small_face_in_a_large_picture_is_called_too_small(
    analyzer: Analyzer, pixels: int, background: str, corner: tuple[int, int]
):
    grey = np.full((8, 8, 3), 128, np.uint8)
    photo = pasted(pixels, grey if background == "grey" else getattr(skimage.data, background)(), corner)
    judgement = judge(photo, analyzer.analyze(photo), PhotoLimits(), "largest")

    assert judgement.code == "face_too_small"
    assert judgement.value == pytest.approx(pixels, rel=0.2)
    assert judgement.limit == 64
    assert f"({judgement.value:.0f} pixels across, at least 64 are needed)" in judgement.message


def test_a_face_that_is_small_and_large_enough_is_used(analyzer: Analyzer):
    photo = pasted(84, skimage.data.coffee(), (400, 300))
    assert judge(photo, analyzer.analyze(photo), PhotoLimits(), "largest").is_ok


@pytest.mark.parametrize("name", ["coffee", "chelsea", "moon"])
def test_what_shows_no_face_shows_none_however_it_is_looked_at(analyzer: Analyzer, name: str):
    photo = getattr(skimage.data, name)()
    photo = np.repeat(photo[..., None], 3, axis=2) if photo.ndim == 2 else photo
    photo = cv2.resize(photo, (240, 240)).astype(np.uint8) if name != "coffee" else photo
    judgement = judge(photo, analyzer.analyze(photo), PhotoLimits(), "largest")

    assert judgement.code == "no_face"
    assert "at least 64 pixels across" in judgement.message


def test_a_photo_with_a_face_is_looked_at_once():
    detector = CountingDetector({0: 0.5})
    assert len(Analyzer("counting", detector, None).analyze(astronaut())) == 1
    assert detector.shapes == [(512, 512, 3)]


@pytest.mark.parametrize(
    ("scores", "turns"), [({1: 0.9, 2: 0.6, 4: 0.7}, 0), ({1: 0.6, 3: 0.8}, 3), ({2: 0.7, 3: 0.7}, 1), ({4: 0.6}, 2)]
)
def test_of_several_looks_the_surest_counts(scores: dict[int, float], turns: int):
    detector = CountingDetector(scores)
    [face] = Analyzer("counting", detector, None).analyze(astronaut()[:400])
    border = 128 if 1 in scores and not turns else 0

    assert face.turns == turns
    assert face.box == (30 - border, 40 - border, 130 - border, 140 - border)
    assert detector.shapes == [(400, 512, 3), (656, 768, 3), (512, 400, 3), (512, 400, 3), (400, 512, 3)]


def test_a_border_is_no_wider_than_a_quarter_of_the_picture():
    assert next(look.picture.shape for look in looks(np.zeros((100, 200, 3), np.uint8))) == (200, 300, 3)


def test_a_turned_photo_is_turned_once_for_a_job(analyzer: Analyzer):
    photo = turned(cv2.resize(astronaut(), (256, 256)).astype(np.uint8), 1)
    picture = Picture(width=256, height=256, rgb=photo.tobytes())
    cache = FaceCache(analyzer)

    assert cache.faces(picture)[0] is cache.faces(picture)[0]
    assert cache.places(picture)[0].turns == 3
