"""insightface's detector, SCRFD (https://arxiv.org/abs/2105.04714): the network's nine outputs to faces."""

import numpy as np

from models.faces.canvas import fitted
from models.faces.face import Face, Rgb
from models.faces.network import Network, planes
from models.faces.overlap import kept

STRIDES = (8, 16, 32)
ANCHORS = 2  # per cell
MIN_SCORE = 0.5
MAX_OVERLAP = 0.4
# PhotoMaker's search: a face that fills the picture is too large for the detector at 640 and is found at a smaller
# size. Its own code keeps the size that worked for the next photo; here every call starts at 640.
SIZES = (640, 576, 512, 448, 384, 320, 256)


def search(first: int | None) -> tuple[int, ...]:
    """From `first` down, then the larger ones: whom the small sizes don't show is looked for as before."""
    if first is None:
        return SIZES
    return (first, *(size for size in SIZES if size < first), *(size for size in SIZES if size > first))


class Scrfd:
    """Thread-safe: keeps nothing between calls."""

    def __init__(
        self, network: Network, *, mean: float = 127.5, std: float = 128.0, first_side: int | None = None
    ) -> None:
        """`first_side` is looked at before the others: 320 costs a quarter of 640, and misses small faces beside a
        large one. A graph of one size has no choice."""
        self._network = network
        self._mean, self._std = mean, std
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
        outputs = self._network(planes(canvas.image, self._mean, self._std)[None])
        boxes, landmarks, scores = decoded(outputs, width, height)
        boxes, landmarks = boxes / canvas.scale, landmarks / canvas.scale
        keep = kept(boxes, scores, MAX_OVERLAP, pixel=1.0)
        return [Face.detected(boxes[index], landmarks[index], scores[index]) for index in keep]


def decoded(outputs: list[np.ndarray], width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4], landmarks [N, 5, 2] and scores [N] over `MIN_SCORE`, in canvas pixels.

    Outputs come as three scores, three boxes, three landmark sets, one per stride; some exports have a batch axis.
    Boxes are distances to the left, top, right and bottom of the cell's corner, landmarks are offsets from it, all
    in units of the stride.
    """
    boxes, landmarks, scores = [], [], []
    for level, stride in enumerate(STRIDES):
        score = outputs[level].reshape(-1)  # [cells * anchors]
        found = np.flatnonzero(score >= MIN_SCORE)
        corner = _corners(width // stride, height // stride)[found] * stride  # [n, 2]
        reach = outputs[level + 3].reshape(-1, 4)[found] * stride
        points = outputs[level + 6].reshape(-1, 5, 2)[found] * stride
        boxes.append(np.concatenate([corner - reach[:, :2], corner + reach[:, 2:]], axis=1))
        landmarks.append(corner[:, None] + points)
        scores.append(score[found])
    return np.concatenate(boxes), np.concatenate(landmarks), np.concatenate(scores)


def _corners(columns: int, rows: int) -> np.ndarray:
    """[rows * columns * ANCHORS, 2] float32: x, y of every anchor's cell."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.repeat(np.stack([x, y], axis=1), ANCHORS, axis=0).astype(np.float32)
