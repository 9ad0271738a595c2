"""Whether the evaluation's numbers mean what it says they do: asked with painters whose portraits are known."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest

from models.weights.manifest import PACKAGE
from scripts.evaluate_tiny import Evaluation, print_table
from scripts.studio import StudioOrder
from scripts.train_tiny.drawing.person import SKIN
from scripts.train_tiny.drawing.style import DrawnStyle
from scripts.train_tiny.judging.detail import face_detail
from scripts.train_tiny.judging.people import draw_sitter
from scripts.train_tiny.judging.reading import Judges, visible_factors
from scripts.train_tiny.judging.skin import skin_ita

PEOPLE = 20
LANDMARKS = np.array([(45, 50), (75, 50), (60, 68), (48, 85), (72, 85)], dtype=np.float32)


class Painter:
    """Stands in for the studio: draws what was ordered. `turn` gives each sitter the portrait of a later one."""

    adapters = ("painter",)

    def __init__(self, turn: int = 0, *, same_face: bool = False) -> None:
        self._turn, self._same_face = turn, same_face
        self.sitters = []

    def accepts(self, selfie: np.ndarray) -> bool:
        return True

    def introduce(self, selfie: np.ndarray, landmarks: np.ndarray) -> None:
        raise AssertionError("nobody was refused")

    def landmarks(self, portrait: np.ndarray) -> np.ndarray | None:
        """Of the drawing; but there is one whose face is not found."""
        targets = [target for s in self.sitters[1:] for target in (s.wanted.target, s.neutral.target)]
        return next((target.landmarks for target in targets if target.pixels is portrait), None)

    def without_identity(self) -> "Painter":
        nobody = Painter(same_face=True)
        nobody.sitters = self.sitters
        return nobody

    def shoot(self, orders: list[StudioOrder]) -> list[np.ndarray]:
        return [self._paint(order) for order in orders]

    def _paint(self, order: StudioOrder) -> np.ndarray:
        [index] = [i for i, sitter in enumerate(self.sitters) if sitter.selfie.pixels is order.selfies[0]]
        model = self.sitters[0 if self._same_face else (index + self._turn) % len(self.sitters)]
        plain = order.prompt == self.sitters[index].neutral.prompt
        return (model.neutral if plain else model.wanted).target.pixels


@pytest.fixture(scope="module")
def judges() -> Judges:
    return Judges(PACKAGE / "tiny")


def evaluated(painter: Painter, judges: Judges) -> dict:
    evaluation = Evaluation(painter, judges, seed=4, n=PEOPLE, adapter=None)
    painter.sitters = evaluation.sitters
    return evaluation.run()


def test_a_painter_who_draws_what_was_ordered_reaches_the_ceiling(judges, capsys):
    result = evaluated(Painter(), judges)
    assert result["top1"] == result["ceiling"]["top1"] >= 0.9
    assert result["attribute_agreement"] == pytest.approx(result["ceiling"]["attribute_agreement"], abs=0.1)
    assert result["style_obedience"] == pytest.approx(result["ceiling"]["style_obedience"], abs=0.1)
    assert result["likeness_same"] > result["likeness_other"] + 0.5
    assert result["ita_shift_max_abs"] < 0.1
    assert all(share == pytest.approx(1, abs=0.1) for share in result["detail"].values())
    assert result["control_top1"] <= 2 / PEOPLE
    assert 0 < result["faces_missed"] < 0.3  # the one, and all that the control paints
    times = {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}
    print_table(result | {"adapter": "painter", "n": PEOPLE, "seed": 4, "bundle_mb": 1.0, "ms_per_image": times})
    assert "top1, 8 steps" in capsys.readouterr().out
    json.dumps(result)


def test_a_painter_who_mixes_up_his_sitters_is_found_out(judges):
    result = evaluated(Painter(turn=1), judges)
    assert result["top1"] <= 2 / PEOPLE
    assert result["likeness_same"] < 0.5
    assert result["attribute_agreement"] < 0.6
    assert result["style_obedience"] < 0.6
    assert result["ita_shift_max_abs"] > 10


def test_a_selfie_that_is_refused_is_taken_again_but_not_for_ever():
    seen = []

    def accepts_the_second(selfie: np.ndarray) -> bool:
        seen.append(selfie)
        return len(seen) == 2

    sitter = draw_sitter(4, 0, accepts_the_second)
    assert sitter.selfie.pixels is seen[1]
    assert (sitter.accepted, sitter.gave_up) == (False, False)
    assert draw_sitter(4, 0, lambda selfie: True).accepted
    assert draw_sitter(4, 0, lambda selfie: False).gave_up


def test_a_sitter_is_the_same_person_every_time_and_no_word_of_the_prompt_tells_who():
    for index in (0, 13, 26):
        first, again = (draw_sitter(4, index, lambda selfie: True) for _ in range(2))
        assert np.array_equal(first.selfie.pixels, again.selfie.pixels)
        assert first.wanted.prompt == again.wanted.prompt
        words = set(first.wanted.prompt.replace(",", "").split())
        assert "person" in words
        assert not words & {"img", "man", "woman", "lady", "girl", "guy", "boy", "gentleman"}


def test_typology_angles_fall_over_the_monk_scale_from_very_light_to_very_dark():
    angles = [skin_ita(np.full((120, 120, 3), tone, np.uint8), LANDMARKS) for tone in SKIN]
    assert angles[0] > 55  # Chardon's "very light"
    assert angles[-1] < -30  # "dark"
    assert all(lighter > darker for lighter, darker in pairwise(angles[3:]))


def test_skin_is_measured_on_cheeks_and_forehead_and_not_on_hair_or_background():
    picture = np.zeros((120, 120, 3), np.uint8)
    picture[30:92, 40:80] = SKIN[3]
    assert skin_ita(picture, LANDMARKS) == pytest.approx(
        skin_ita(np.full((120, 120, 3), SKIN[3], np.uint8), LANDMARKS), abs=0.1
    )


def test_a_factor_that_the_style_hides_is_not_counted():
    style = DrawnStyle(garment="suit", colour="red", place="studio", backdrop="grey", light="soft", art="none")
    assert {"hair_colour", "colour", "backdrop", "light"} <= visible_factors(style)
    grey = DrawnStyle(garment="suit", colour="red", place="park", backdrop="grey", light="soft", art="black and white")
    assert not {"hair_colour", "eye_colour", "colour", "backdrop", "light"} & visible_factors(grey)
    assert {"hair", "glasses", "garment", "place", "art"} <= visible_factors(grey)


def test_a_blur_takes_detail_from_a_face_and_so_does_shadow_and_a_busy_background_adds_none():
    sitter = draw_sitter(4, 1, lambda selfie: True)
    picture, landmarks = sitter.wanted.target.pixels, sitter.wanted.target.landmarks
    whole = face_detail(picture, landmarks)
    assert face_detail(cv2.GaussianBlur(picture, (0, 0), 2), landmarks) < 0.7 * whole
    assert face_detail(picture // 2, landmarks) == pytest.approx(whole / 2, rel=0.1)
    busy = picture.copy()
    busy[:20] = np.random.default_rng(0).integers(0, 255, busy[:20].shape)
    assert face_detail(busy, landmarks) == whole


def test_a_face_beyond_the_edge_of_its_picture_has_a_detail_all_the_same():
    assert face_detail(np.zeros((64, 64, 3), np.uint8), LANDMARKS + 400) == 0
