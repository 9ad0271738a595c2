"""insightface's detector, SCRFD (https://arxiv.org/abs/2105.04714), run by insightface's own class at several sizes.

The picture is laid on our canvas: the class's `detect` takes it in BGR, which is a copy of the whole of it, and fails
on one thinner than a pixel of the canvas.
"""

import cv2
import numpy as np

from models.faces.canvas import fitted
from models.faces.face import Face, Rgb
from models.faces.model_zoo import model_zoo
from models.faces.network import Network

MIN_SCORE = 0.5
# PhotoMaker's search: a face that fills the picture is too large for the detector at 640 and is found at a smaller
# size. Its own code keeps the size that worked for the next photo; here every call starts at 640.
SIZES = (640, 576, 512, 448, 384, 320, 256)


def search(first: int | None) -> tuple[int, ...]:
    """From `first` down, then the larger ones: whom the small sizes don't show is looked for as before."""
    if first is None:
        return SIZES
    return (first, *(size for size in SIZES if size < first), *(size for size in SIZES if size > first))


class Scrfd:
    """Thread-safe: keeps nothing between calls but the anchors' centres of every size."""

    def __init__(
        self, network: Network, *, mean: float = 127.5, std: float = 128.0, first_side: int | None = None
    ) -> None:
        """`first_side` is looked at before the others: 320 costs a quarter of 640, and misses small faces beside a
        large one. A graph of one size has no choice."""
        self._model = model_zoo().SCRFD(session=network.session)
        self._model.input_mean, self._model.input_std = mean, std
        self._model.input_dtype = network.input_type
        self._sizes = (network.fixed_size,) if network.fixed_size else tuple((s, s) for s in search(first_side))

    @property
    def sides(self) -> tuple[int, ...]:
        return tuple(max(size) for size in self._sizes)

    def detect(self, picture: Rgb) -> list[Face]:
        """Faces at the first size of the search that shows one, best score first."""
        for width, height in self._sizes:
            if faces := self._detect_at(picture, width, height):
                return faces
        return []

    def _detect_at(self, picture: Rgb, width: int, height: int) -> list[Face]:
        canvas = fitted(picture, width, height)
        levels = self._model.forward(cv2.cvtColor(canvas.image, cv2.COLOR_RGB2BGR), MIN_SCORE)
        scores, boxes, landmarks = (np.concatenate(found) for found in levels)  # [N, 1], [N, 4], [N, 5, 2]
        boxes, landmarks = boxes / canvas.scale, landmarks / canvas.scale
        keep = self._model.nms(np.hstack([boxes, scores]))
        return [Face.detected(boxes[index], landmarks[index], scores[index, 0]) for index in keep]
