"""A detector and a recogniser as one face analyzer, and several of them side by side."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from models.faces.face import Detector, Face, FaceAnalyzer, Rgb
from models.faces.recogniser import Recogniser
from models.faces.second_look import looks, turned


class SureDetector(Detector, Protocol):
    """Finds only faces that it is sure of, and tells how sure by their scores."""

    def is_sure(self, picture: Rgb, face: Face) -> bool: ...


class Analyzer:
    """Finds faces, largest first, and embeds the largest alone.

    A photo in which there is none, or none that is sure, is looked at again, with a border and turned, and of the looks
    that show a face the one is right whose face has the best score.

    Nothing uses the embedding of a bystander, so none is made: it would cost time and be biometric data of someone
    who did not ask. Thread-safe if the detector is; keeps no state between calls.
    """

    def __init__(
        self,
        name: str,
        detector: Detector,
        recogniser: Recogniser | None,
        *,
        again: SureDetector | None = None,
        small: Detector | None = None,
    ) -> None:
        """`again` is the second looks' detector, where `detector` has no scores, and `small` is asked last, where it
        overlooks small faces."""
        self.name = name
        self.space = recogniser.space if recogniser else None
        self.sides = detector.sides
        self._detector = detector
        self._recogniser = recogniser
        self._again = again
        self._small = small

    def detect(self, picture: Rgb) -> list[Face]:
        faces = found(self._detector, picture)
        if faces and (self._again is None or self._again.is_sure(picture, faces[0])):
            return faces
        return self._found_again(picture) or faces or (found(self._small, picture) if self._small else [])

    def _found_again(self, picture: Rgb) -> list[Face]:
        detector = self._again or self._detector
        seen = [look.placed(faces) for look in looks(picture) if (faces := found(detector, look.picture))]
        return max(seen, key=lambda faces: faces[0].score, default=[])

    def analyze(self, picture: Rgb) -> list[Face]:
        faces = self.detect(picture)
        if faces and self._recogniser:
            upright = turned(picture, faces[0].turns) if faces[0].turns else picture
            embedding = self._recogniser.embedding(upright, faces[0].landmarks)
            faces[0] = replace(faces[0], embedding=embedding, space=self._recogniser.space)
        return faces

    def for_space(self, space: str | None) -> FaceAnalyzer:
        if space not in (None, self.space):
            raise LookupError(f"{self.name} makes no face embeddings of {space!r}")
        return self


def found(detector: Detector, picture: Rgb) -> list[Face]:
    """Largest first."""
    return sorted(detector.detect(picture), key=lambda face: face.area, reverse=True)


class Analyzers:
    """For adapters that were trained on different recognisers; the first is asked where it doesn't matter."""

    def __init__(self, analyzers: Sequence[FaceAnalyzer]) -> None:
        self.name = ", ".join(analyzer.name for analyzer in analyzers)
        self.space = analyzers[0].space
        self.sides = analyzers[0].sides
        self._analyzers = tuple(analyzers)

    def detect(self, picture: Rgb) -> list[Face]:
        return self._analyzers[0].detect(picture)

    def analyze(self, picture: Rgb) -> list[Face]:
        return self._analyzers[0].analyze(picture)

    def for_space(self, space: str | None) -> FaceAnalyzer:
        for analyzer in self._analyzers:
            if space in (None, analyzer.space):
                return analyzer
        raise LookupError(f"{self.name} make no face embeddings of {space!r}")
