"""A face found in a picture, and the protocol of the things that find one.

A face is biometric data: its `repr` shows the box and the score, never landmarks or an embedding.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]  # [H, W, 3], sRGB


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Face:
    """One face, in pixels of the picture it was found in, after `turns` quarter turns of that counter-clockwise.

    `landmarks` are image-left eye, image-right eye, nose tip, image-left and image-right mouth corner. They are
    measured on this face, or, where no landmark model was at hand, a mean shape laid into the box
    (`landmarks_measured` False: good enough for a rough crop, useless for a pose).
    """

    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    landmarks: np.ndarray  # [5, 2] float32
    score: float  # the detector's own confidence; 0.5 where it has none
    embedding: np.ndarray | None = None  # [512] float32, raw: not normalised
    space: str | None = None  # the recogniser that made the embedding; two spaces are never comparable
    landmarks_measured: bool = True
    turns: int = 0  # 0 but where the photo lies on its side or its head; 0 to 3, and of all faces of a picture the same

    @classmethod
    def detected(cls, box: np.ndarray, landmarks: np.ndarray, score: float) -> Self:
        """A face with measured landmarks from a detector's arrays: `box` [4], `landmarks` [5, 2]."""
        x0, y0, x1, y1 = (float(edge) for edge in box)
        return cls((x0, y0, x1, y1), landmarks.astype(np.float32), float(score))

    @property
    def area(self) -> float:
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, 0.0) * max(y1 - y0, 0.0)

    @property
    def size(self) -> float:
        """The side of a square of the box's area, in pixels: detectors differ in box shape more than in box area."""
        return self.area**0.5

    def __repr__(self) -> str:
        box = ", ".join(f"{edge:.0f}" for edge in self.box)
        return f"Face(box=({box}), score={self.score:.2f}, space={self.space})"


class Detector(Protocol):
    """Finds faces, without embeddings, in any order."""

    @property
    def sides(self) -> tuple[int, ...]:
        """The sizes of picture that its network is shown, in pixels, until one shows a face; () if it has no choice."""
        ...

    def detect(self, picture: Rgb) -> list[Face]: ...


class FaceAnalyzer(Protocol):
    """Finds faces, largest box first, and embeds the largest. Safe to call from several threads at once."""

    name: str
    space: str | None  # None: no recogniser, so no embeddings
    sides: tuple[int, ...]  # the first detector's

    def detect(self, picture: Rgb) -> list[Face]:
        """Without any embedding: for a photo whose face nobody needs to know again."""
        ...

    def analyze(self, picture: Rgb) -> list[Face]: ...

    def for_space(self, space: str | None) -> "FaceAnalyzer":
        """The one whose embeddings are of that space; None: any will do. Raises LookupError if there is none."""
        ...
