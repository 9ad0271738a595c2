"""One look at each photo of a job, and none that outlives it."""

import pytest

from models.faces.face_cache import FaceCache
from models.wire.picture import Picture


class CountingAnalyzer:
    def __init__(self, space="s"):
        self.name, self.space, self.seen, self.detected = "counting", space, [], []

    def detect(self, picture):
        self.detected.append(int(picture[0, 0, 0]))
        return ["a face"]

    def analyze(self, picture):
        self.seen.append(int(picture[0, 0, 0]))
        return ["a face with its embedding"]

    def for_space(self, space):
        if space not in (None, self.space):
            raise LookupError
        return self


class Pair(CountingAnalyzer):
    def __init__(self, first, second):
        super().__init__(first.space)
        self.both = (first, second)

    def for_space(self, space):
        return next(one for one in self.both if space in (None, one.space))


def photo(shade, width=2, height=3):
    return Picture(width=width, height=height, rgb=bytes([shade]) * (3 * width * height))


def test_the_same_photo_is_looked_at_once_however_often_it_was_sent():
    analyzer = CountingAnalyzer()
    looks = FaceCache(analyzer)
    for shade in (1, 2, 1, 1):
        looks.faces(photo(shade), "s")
    assert analyzer.seen == [1, 2]


def test_pixels_of_another_shape_are_another_photo():
    analyzer = CountingAnalyzer()
    looks = FaceCache(analyzer)
    looks.faces(photo(1))
    looks.faces(photo(1, width=3, height=2))
    assert analyzer.seen == [1, 1]


def test_another_recogniser_looks_for_itself():
    first, second = CountingAnalyzer("a"), CountingAnalyzer("b")
    looks = FaceCache(Pair(first, second))
    for space in ("a", "b", None):
        looks.faces(photo(1), space)
    assert (first.seen, second.seen) == ([1], [1])


def test_where_faces_are_is_asked_without_an_embedding_and_not_again_of_a_known_photo():
    analyzer = CountingAnalyzer()
    looks = FaceCache(analyzer)
    looks.faces(photo(1))
    assert looks.places(photo(1)) == ["a face with its embedding"]
    assert looks.places(photo(2)) == ["a face"]
    assert (analyzer.seen, analyzer.detected) == ([1], [2])


def test_an_unknown_space_is_refused_as_the_analyzer_refuses_it():
    with pytest.raises(LookupError):
        FaceCache(CountingAnalyzer()).faces(photo(1), "another")


def test_it_does_not_print_what_it_saw():
    looks = FaceCache(CountingAnalyzer())
    looks.faces(photo(1))
    assert repr(looks) == "FaceCache(1 photos)"
