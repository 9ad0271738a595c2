"""The embedded bundle's finals are their previews' pictures: the same person, in the same place, only finer and larger.

Measured as by scripts/measure_finals.py, on few people, and held against finals drawn anew from another seed: what
makes no difference between the two would say nothing. Structure is SSIM, which all portraits of this bundle share
much of, because they are framed alike. The face says nothing here: another seed shows the same person as well.

One seed says little, because seeds of this bundle decide little: everybody is drawn with several, and counts as their
mean. Needs skia (the `train` extra, part of `make test`).
"""

import numpy as np
import pytest

from scripts.measure_finals import FinalsComparison
from scripts.studio import open_studio
from scripts.train_tiny.judging.people import draw_sitter

PEOPLE, SEEDS = 8, 3
# Over these people (2026-11-22) finals have a structure of .961 and a likeness of .938, those drawn anew .947 and .940.
# There is room for weights that are trained again.
ENOUGH_STRUCTURE, BETTER_STRUCTURE = 0.9, 0.01
ENOUGH_LIKENESS = 0.88
# Of the draw, finals keep .59, those drawn anew have .33: what a seed decides is little, this looks at that alone.
ENOUGH_DRAW, BETTER_DRAW = 0.5, 0.15
MOST = 0.85  # of the people


@pytest.fixture(scope="module")
def compared():
    sitters = [draw_sitter(20261, index, lambda _: True) for index in range(PEOPLE)]
    return FinalsComparison(open_studio(), sitters * SEEDS, None)  # every place in the list has a seed of its own


@pytest.fixture(scope="module")
def finals(compared):
    pictures = compared.finals(compared.studio)
    return pictures, compared.agreement(pictures)


@pytest.fixture(scope="module")
def anew(compared):
    return compared.agreement(compared.finals(compared.studio, anew=True))


def more(finals, anew):
    """The share of the people for whom finals have more than those drawn anew."""
    return ((finals - anew).reshape(SEEDS, PEOPLE).mean(axis=0) > 0).mean()


def test_a_final_has_its_previews_structure_and_one_drawn_anew_has_not(finals, anew):
    _, agreement = finals
    assert agreement.structure.mean() >= ENOUGH_STRUCTURE
    assert agreement.structure.mean() - anew.structure.mean() >= BETTER_STRUCTURE
    assert more(agreement.structure, anew.structure) >= MOST


def test_a_final_is_its_previews_own_draw_and_not_another_of_the_same_person(finals, anew):
    _, agreement = finals
    assert agreement.draw.mean() >= ENOUGH_DRAW
    assert agreement.draw.mean() - anew.draw.mean() >= BETTER_DRAW
    assert more(agreement.draw, anew.draw) >= MOST


def test_a_final_shows_its_previews_face(finals):
    _, agreement = finals
    assert agreement.likeness.mean() >= ENOUGH_LIKENESS


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
