"""The embedded bundle's face finder: people of every skin tone, pictures without a face, and what it says of a box."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data

import models
from models.faces.bundled import load_bundled
from models.faces.face import Rgb
from models.faces.finder import CONFIRM_SIDE, FRAME_SIZE, STRIDE, UNIT, FaceFinder
from models.faces.network import Network
from scripts.train_tiny.drawing.person import SKIN, draw_identity
from scripts.train_tiny.drawing.pose import selfie_pose
from scripts.train_tiny.drawing.render import Render, render
from scripts.train_tiny.drawing.style import plain_style
from scripts.train_tiny.lessons.finder import face_box

TINY = Path(models.__file__).parent / "weights" / "tiny"
CELLS = FRAME_SIZE // STRIDE
PEOPLE = 8  # of each tone


class Scripted:
    """A finder's network that answers with one cell (row, column, logit, side in pixels) for each look in turn."""

    def __init__(self, *answers: tuple[int, int, float, float]) -> None:
        self._answers = [(0, 0, -9.0, UNIT), *answers]  # the first is for the finder's trial run

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        row, column, logit, side = self._answers.pop(0)
        told = np.zeros((1, 4, CELLS, CELLS), np.float32)
        told[:, 0] = -9
        told[0, :, row, column] = (logit, 0.5, 0.5, np.log(side / UNIT))  # half a cell right of and below the middle
        return [told]


def scripted(*answers: tuple[int, int, float, float]) -> FaceFinder:
    return FaceFinder(Scripted(*answers))  # pyright: ignore[reportArgumentType]


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(Network((TINY / "faces" / "finder.onnx").read_bytes(), device="cpu", threads=1))


def selfies(tone: int) -> list[Render]:
    """Of people that the finder was not trained with: their seed is not the recipe's."""
    rng = np.random.default_rng([31, tone])
    return [render(draw_identity(rng, tone), plain_style(rng), selfie_pose(rng)) for _ in range(PEOPLE)]


def overlap(first: tuple[float, ...], second: tuple[float, ...]) -> float:
    """Intersection over union of two squares: centre x, y and side."""
    reach = (first[2] + second[2]) / 2
    width, height = (min(reach - abs(a - b), first[2], second[2]) for a, b in zip(first[:2], second[:2], strict=True))
    shared = max(width, 0) * max(height, 0)
    return shared / (first[2] ** 2 + second[2] ** 2 - shared)


@pytest.mark.parametrize("tone", range(len(SKIN)))
def test_selfies_of_every_skin_tone_are_found_where_the_face_is(finder: FaceFinder, tone: int):
    for selfie in selfies(tone):
        detections = finder.find(selfie.pixels)

        assert len(detections) == 1
        seen = detections[0]
        turn, shift = seen.upright[:, :2], seen.upright[:, 2]
        x, y = np.linalg.solve(turn, np.array([seen.x, seen.y]) - shift)
        assert overlap((x, y, seen.side / seen.scale), face_box(selfie.landmarks)) > 0.5


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(skimage.data.coffee, id="coffee"),
        pytest.param(skimage.data.chelsea, id="cat"),
        pytest.param(skimage.data.rocket, id="rocket"),
        pytest.param(lambda: grey(skimage.data.horse() * np.uint8(255)), id="horse"),
        pytest.param(skimage.data.retina, id="retina"),
        pytest.param(lambda: grey(skimage.data.moon()), id="moon"),
        pytest.param(lambda: grey(skimage.data.cell()), id="cell"),
        pytest.param(lambda: np.ascontiguousarray(skimage.data.logo()[..., :3]), id="logo"),
        pytest.param(skimage.data.colorwheel, id="colour wheel"),
        pytest.param(lambda: grey(skimage.data.page()), id="page"),
        pytest.param(lambda: np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8), id="noise"),
        pytest.param(lambda: np.full((300, 300, 3), 128, np.uint8), id="grey"),
        pytest.param(lambda: np.zeros((2000, 30, 3), np.uint8), id="sliver"),
        pytest.param(lambda: np.zeros((1, 1, 3), np.uint8), id="one pixel"),
    ],
)
def test_no_face_is_found_where_there_is_none(finder: FaceFinder, picture: Callable[[], Rgb]):
    assert finder.find(picture()) == []


def test_a_face_that_the_cascade_passes_over_is_found_by_the_bundle():
    bundled = load_bundled(TINY, device="cpu", threads=1)

    for selfie in selfies(len(SKIN) - 1)[:3]:
        face = bundled.analyze(selfie.pixels)[0]
        span = np.linalg.norm(selfie.landmarks[1] - selfie.landmarks[0])
        assert np.linalg.norm(face.landmarks - selfie.landmarks, axis=1).mean() < 0.3 * span


def test_a_box_is_told_by_the_cell_it_is_centred_in_and_measured_from_closer_by():
    wide = np.zeros((FRAME_SIZE, 2 * FRAME_SIZE, 3), np.uint8)  # so two of its pixels are one of the frame's
    seen = scripted((7, 2, 3.0, 20.0), (5, 5, 3.0, CONFIRM_SIDE)).find(wide)

    assert len(seen) == 1
    x, y, side = seen[0].x, seen[0].y, seen[0].side
    assert (x, y, side) == pytest.approx((47.5, 47.5, CONFIRM_SIDE))
    middle = np.linalg.solve(seen[0].upright[:, :2], (x, y) - seen[0].upright[:, 2])
    assert middle == pytest.approx((2 * (3 * STRIDE - 0.5) + 0.5, 2 * (8 * STRIDE - 0.5 - FRAME_SIZE / 4) + 0.5))
    assert side / seen[0].scale == pytest.approx(2 * 20)


@pytest.mark.parametrize(
    "closer",
    [(5, 5, -3.0, CONFIRM_SIDE), (5, 9, 3.0, CONFIRM_SIDE), (5, 5, 3.0, CONFIRM_SIDE / 2)],
    ids=["not at all", "elsewhere", "at another size"],
)
def test_what_is_not_seen_again_from_closer_by_is_no_face(closer: tuple[int, int, float, float]):
    assert scripted((5, 5, 3.0, 20.0), closer).find(np.zeros((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)) == []


def grey(picture: np.ndarray) -> Rgb:
    return np.stack([picture] * 3, axis=-1)
