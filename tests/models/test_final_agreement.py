"""The embedded bundle's finals are their previews' pictures: the same person, in the same place, only finer and larger.

Measured as by scripts/measure_finals.py, on few people. Each bound lies between what finals reach and one drawn
anew from another seed does, and that is tested too: a bound that both keep would say nothing. Structure is SSIM,
which all portraits of this bundle share much of, because they are framed alike.

Needs skia (the `train` extra, part of `make test`).
"""

import numpy as np
import pytest

from scripts.measure_finals import Comparison
from scripts.studio import open_studio
from scripts.train_tiny.judge_people import draw_sitter

PEOPLE = 8
# On 2026-11-21 over 20 people, PhotoMaker v2: finals .93, drawn anew .84; likeness .92 and .82.
ENOUGH_STRUCTURE, ENOUGH_LIKENESS = 0.885, 0.85


@pytest.fixture(scope="module")
def compared():
    return Comparison(open_studio(), [draw_sitter(20261, index, lambda _: True) for index in range(PEOPLE)], None)


@pytest.fixture(scope="module")
def finals(compared):
    pictures = compared.finals(compared.studio)
    return pictures, compared.agreement(pictures)


@pytest.fixture(scope="module")
def anew(compared):
    return compared.agreement(compared.finals(compared.studio, anew=True))


def test_a_final_has_its_previews_structure_and_one_drawn_anew_has_not(finals, anew):
    _, agreement = finals
    assert agreement.structure.mean() >= ENOUGH_STRUCTURE > anew.structure.mean()
    assert (agreement.structure > anew.structure).mean() >= 0.85


def test_a_final_shows_its_previews_person_and_one_drawn_anew_less_so(finals, anew):
    _, agreement = finals
    assert agreement.likeness.mean() >= ENOUGH_LIKENESS > anew.likeness.mean()


def test_a_final_is_as_much_like_the_person_as_its_preview(compared, finals):
    _, agreement = finals
    assert agreement.own.mean() >= compared.own_of_previews - 0.06


def test_a_final_is_twice_as_large_and_no_softer_than_its_preview_enlarged(compared, finals):
    pictures, agreement = finals
    assert {picture.shape for picture in pictures} == {(512, 512, 3)}
    assert {preview.shape for preview in compared.previews} == {(256, 256, 3)}
    assert agreement.detail.mean() > 1


def test_a_final_is_more_than_its_preview_enlarged(compared, finals):
    _, agreement = finals
    assert agreement.structure.max() < 0.99
    assert np.isfinite(agreement.likeness).all()
