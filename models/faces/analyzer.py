"""A detector and a recogniser as one face analyzer, and several of them side by side."""

from collections.abc import Sequence
from dataclasses import replace

from models.faces.face import Detector, Face, FaceAnalyzer, Rgb
from models.faces.recogniser import Recogniser


class Analyzer:
    """Finds faces, largest first, and embeds the largest alone.

    Nothing uses the embedding of a bystander, so none is made: it would cost time and be biometric data of someone
    who did not ask. Thread-safe if the detector is; keeps no state between calls.
    """

    def __init__(self, name: str, detector: Detector, recogniser: Recogniser | None) -> None:
        self.name = name
        self.space = recogniser.space if recogniser else None
        self.sides = detector.sides
        self._detector = detector
        self._recogniser = recogniser

    def detect(self, picture: Rgb) -> list[Face]:
        return sorted(self._detector.detect(picture), key=lambda face: face.area, reverse=True)

    def analyze(self, picture: Rgb) -> list[Face]:
        faces = self.detect(picture)
        if faces and self._recogniser:
            embedding = self._recogniser.embedding(picture, faces[0].landmarks)
            faces[0] = replace(faces[0], embedding=embedding, space=self._recogniser.space)
        return faces

    def for_space(self, space: str | None) -> FaceAnalyzer:
        if space not in (None, self.space):
            raise LookupError(f"{self.name} makes no face embeddings of {space!r}")
        return self


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
