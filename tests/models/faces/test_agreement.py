"""Selfies of one person go together; several people's are told apart, with the likeness of every pair."""

import numpy as np
import pytest

from models.faces.agreement import SAME_PERSON, disagreement
from models.faces.face import Face

SPACE = "antelopev2"


def face(*direction, space=SPACE):
    """With an embedding of the norm that recognisers give: likeness must not depend on it."""
    embedding = None if space is None else 20 * np.array([*direction, *[0.0] * (512 - len(direction))], np.float32)
    return Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2), np.float32), 1.0, embedding, space)


def at(degrees, **given):
    """Cosines of angles: 60 degrees apart is a likeness of 0.5."""
    return face(np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), **given)


def test_faces_of_one_person_agree():
    assert disagreement([at(0), at(40), at(70)]) is None


def test_one_selfie_agrees_with_itself():
    assert disagreement([at(0)]) is None


def test_two_people_disagree_with_the_likeness_of_the_pair():
    found = disagreement([at(0), at(85)])
    assert found is not None
    assert found.groups == [[0], [1]]
    assert found.likeness == [[1.0, 0.087], [0.087, 1.0]]
    assert (found.nearest, found.threshold) == (0.087, SAME_PERSON[SPACE])


@pytest.mark.parametrize("likeness", [0.40, 0.43, 0.465, 0.47, 0.52])
def test_photographs_of_one_man_years_apart_agree_for_the_embedded_recogniser(likeness):
    """As measured (models/faces/DECISIONS.md)."""
    apart = np.degrees(np.arccos(likeness))
    assert disagreement([at(0, space="proofsheet-tiny"), at(apart, space="proofsheet-tiny")]) is None


def test_pairs_are_those_of_different_people():
    found = disagreement([at(0), at(120), at(10)])
    assert found is not None
    assert found.pairs == [(0, 1), (1, 2)]


def test_the_stranger_among_seven_is_the_last_group():
    faces = [at(degrees) for degrees in (0, 10, 20)] + [at(120)] + [at(degrees) for degrees in (5, 15, 25, 30)]
    found = disagreement(faces)
    assert found is not None
    assert found.groups == [[0, 1, 2, 4, 5, 6, 7], [3]]


def test_far_apart_pictures_of_one_person_are_linked_by_those_between():
    """A left profile and a right one, 140 degrees apart here, with frontal pictures."""
    assert disagreement([at(0), at(140), at(70)]) is None
    assert disagreement([at(0), at(140)]) is not None


def test_two_people_with_four_selfies_each_are_two_groups():
    faces = [at(5 * place + 130 * (place % 2)) for place in range(8)]
    found = disagreement(faces)
    assert found is not None
    assert found.groups == [[0, 2, 4, 6], [1, 3, 5, 7]]


@pytest.mark.parametrize("spaces", [(None, None), ("unheard-of", "unheard-of"), (SPACE, None), (SPACE, "buffalo_l")])
def test_where_no_one_recogniser_says_nothing_is_refused(spaces):
    assert disagreement([at(90 * place, space=space) for place, space in enumerate(spaces)]) is None
