"""Faces by a small network of our own, trained on people of all skin tones alike (scripts/train_tiny/lessons)."""

import numpy as np

from models.faces.align import warped
from models.faces.detection import Detection
from models.faces.face import Face, Rgb
from models.faces.network import Network, planes
from models.faces.overlap import corners, kept

FRAME_SIZE = 96
STRIDE = 8
UNIT = 32.0  # pixels: the network tells sides as logarithms of multiples of it
MAX_OVERLAP = 0.3
# With these all of 400 held-out drawn selfies are found. Of 26 pictures without a human face the moon, a tissue section
# and a cat come nearest, with 0.50 and 0.75, 0.43 and 0.75, 0.62 and 0.47.
MIN_SCORE = 0.55
# The second look: every candidate again, at a size that the network knows best. A face answers at both.
CONFIRM_SIDE = 40.0  # pixels of the frame
CONFIRM_SCORE = 0.7
CONFIRM_SHIFT = 0.3  # of the box: as far as its centre may be from where the first look saw it,
CONFIRM_GROWTH = 1.6  # and as much larger or smaller as it may be
MAX_CANDIDATES = 4


class FaceFinder:
    """[1, 3, 96, 96] -> [1, 4, 12, 12]: a cell's logit, the centre from its own in cells, the log side. Thread-safe."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._middles = (np.arange(FRAME_SIZE // STRIDE) + 0.5) * STRIDE - 0.5
        self.find(np.zeros((FRAME_SIZE, FRAME_SIZE, 3), np.uint8))  # the first run's cost, before a person waits

    def find(self, picture: Rgb) -> list[Detection]:
        """Confirmed faces, likeliest first."""
        whole = _whole(picture)
        boxes, scores = self._look(picture, whole)
        candidates = kept(corners(boxes), scores, MAX_OVERLAP)[:MAX_CANDIDATES]
        detections = [
            self._confirmed(picture, whole, boxes[index]) for index in candidates if scores[index] > MIN_SCORE
        ]
        return [detection for detection in detections if detection]

    def score(self, picture: Rgb, face: Face) -> float:
        """How much like an upright face that one looks where it is, alone and at the size known best; 0 to 1."""
        x0, y0, x1, y1 = face.box
        zoom, middle = CONFIRM_SIDE / max(face.size, 1.0), (FRAME_SIZE - 1) / 2
        frame = np.array([[zoom, 0, middle - zoom * (x0 + x1) / 2], [0, zoom, middle - zoom * (y0 + y1) / 2]])
        boxes, scores = self._look(picture, frame)
        return float(scores[_is_same(boxes)].max(initial=0.0))

    def _confirmed(self, picture: Rgb, frame: np.ndarray, box: np.ndarray) -> Detection | None:
        x, y, side = box
        zoom, middle = CONFIRM_SIDE / side, (FRAME_SIZE - 1) / 2
        closer = np.array([[zoom, 0, middle - zoom * x], [0, zoom, middle - zoom * y]]) @ np.vstack([frame, (0, 0, 1)])
        boxes, scores = self._look(picture, closer)
        best = int(scores.argmax())
        x, y, side = (float(number) for number in boxes[best])
        is_same = bool(_is_same(boxes[best : best + 1])[0])
        return Detection(x, y, side, closer) if is_same and scores[best] > CONFIRM_SCORE else None

    def _look(self, picture: Rgb, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of every cell the box [144, 3] (centre x, y and side, in the frame's pixels) and its score [144], 0..1."""
        seen = planes(warped(picture, frame, FRAME_SIZE, smooth=True), 127.5, 127.5)
        logits, x, y, log_side = self._network(seen[None])[0][0]
        boxes = np.stack(
            [x * STRIDE + self._middles, y * STRIDE + self._middles[:, None], UNIT * np.exp(log_side)], axis=-1
        )
        return boxes.reshape(-1, 3), 1 / (1 + np.exp(-logits.reshape(-1)))


def _is_same(boxes: np.ndarray) -> np.ndarray:
    """[N] bool: which boxes [N, 3] of a frame around a face, drawn to CONFIRM_SIDE, may be that face's."""
    middle = (FRAME_SIZE - 1) / 2
    shift = np.hypot(boxes[:, 0] - middle, boxes[:, 1] - middle) / CONFIRM_SIDE
    growth = boxes[:, 2] / CONFIRM_SIDE
    return (shift < CONFIRM_SHIFT) & (growth > 1 / CONFIRM_GROWTH) & (growth < CONFIRM_GROWTH)


def _whole(picture: Rgb) -> np.ndarray:
    """[2, 3]: the whole picture into the middle of a square frame."""
    height, width = picture.shape[:2]
    scale = FRAME_SIZE / max(height, width)
    middle = (FRAME_SIZE - 1) / 2
    return np.array([[scale, 0, middle - scale * (width - 1) / 2], [0, scale, middle - scale * (height - 1) / 2]])
