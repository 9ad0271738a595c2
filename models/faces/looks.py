"""What an analyzer saw in the photos of one job, so that it looks at the same photo once.

A job is as far as this goes. A final, or another picture of the same person, brings the identity's bytes and no photo;
a job that is sent again because its worker died begins in a process that remembers nothing. Keeping faces longer would
keep them of people whose job has ended.
"""

from typing import Any

import numpy as np

from models.faces.face import Face, FaceAnalyzer, Rgb
from models.wire.picture import Picture


class Looks:
    """Lives and dies with one job's preparation; one thread uses it."""

    def __init__(self, analyzer: FaceAnalyzer) -> None:
        self._analyzer = analyzer
        self._seen: list[tuple[FaceAnalyzer, Picture, list[Face]]] = []

    def faces(self, picture: Picture, space: str | None = None) -> list[Face]:
        """Largest first; the largest with an embedding of that `space`. Raises LookupError if nothing makes such."""
        analyzer = self._analyzer.for_space(space)
        for by, known, faces in self._seen:
            if by is analyzer and known == picture:  # the pixels themselves: two photos differ in their first bytes
                return faces
        faces = analyzer.analyze(pixels_of(picture))
        self._seen.append((analyzer, picture, faces))
        return faces

    def places(self, picture: Picture, space: str | None = None) -> list[Face]:
        """Only where the faces are, by the same detector: without an embedding, unless the photo was known."""
        analyzer = self._analyzer.for_space(space)
        known = (faces for by, seen, faces in self._seen if by is analyzer and seen == picture)
        return next(known, None) or analyzer.detect(pixels_of(picture))

    def __repr__(self) -> str:
        return f"Looks({len(self._seen)} photos)"


def pixels_of(picture: Picture) -> Rgb:
    pixels: Any = np.frombuffer(picture.pixels, np.uint8)
    return pixels.reshape(picture.height, picture.width, 3)
