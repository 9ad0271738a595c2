"""The faces found in the photos of one job, so that each photo is analysed once.

Nothing is kept beyond the job, because that would keep the faces of people whose job has ended. There is little to gain
either: a final, or another picture of the same person, brings the identity's bytes and no photo.
"""

from typing import Any

import msgspec
import numpy as np

from models.faces.face import Face, FaceAnalyzer, Rgb
from models.faces.second_look import turned
from models.wire.picture import Picture


class FaceCache:
    """Belongs to one job's preparation, and to one thread."""

    def __init__(self, analyzer: FaceAnalyzer) -> None:
        self._analyzer = analyzer
        self._seen: list[tuple[FaceAnalyzer, Picture, list[Face]]] = []

    def faces(self, picture: Picture, space: str | None = None) -> list[Face]:
        """Faces, largest first; the largest has an embedding of `space`. Raises LookupError for an unknown space."""
        analyzer = self._analyzer.for_space(space)
        for by, known, faces in self._seen:
            if by is analyzer and known == picture:  # the pixels themselves: two photos differ in their first bytes
                return faces
        faces = analyzer.analyze(pixels_of(picture))
        self._seen.append((analyzer, picture, faces))
        return faces

    def places(self, picture: Picture, space: str | None = None) -> list[Face]:
        """Faces by the same detector, without an embedding unless the photo was analysed before."""
        analyzer = self._analyzer.for_space(space)
        known = (faces for by, seen, faces in self._seen if by is analyzer and seen == picture)
        return next(known, None) or analyzer.detect(pixels_of(picture))

    def __repr__(self) -> str:
        return f"FaceCache({len(self._seen)} photos)"


def upright(picture: Picture, face: Face) -> Picture:
    """The photo as `face` stands in it: itself, but where it was found lying on its side or its head."""
    if not face.turns:
        return picture
    pixels = turned(pixels_of(picture), face.turns)
    height, width = pixels.shape[:2]
    return msgspec.structs.replace(picture, width=width, height=height, rgb=pixels.tobytes(), tray=None)


def pixels_of(picture: Picture) -> Rgb:
    pixels: Any = np.frombuffer(picture.pixels, np.uint8)
    return pixels.reshape(picture.height, picture.width, 3)
