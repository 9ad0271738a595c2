"""Five landmarks inside a cascade's box: by a small network, or by the mean shape where there is none."""

import cv2
import numpy as np

from models.faces.align import moved, warped
from models.faces.detection import Detection
from models.faces.face import Rgb
from models.faces.network import Network, planes

CROP_SIZE = 96
CROP_BOXES = 1.5  # the crop is this many boxes wide ...
CROP_CENTRE = 0.53  # ... and centred at this height of the box, in the middle
# Where the points of 8 faces lie in the cascade's box on average (32 detections, left and right made even); the
# standard deviation is 0.05 to 0.09 of the box's side.
_MEAN_SHAPE = ((0.31, 0.39), (0.69, 0.39), (0.50, 0.61), (0.34, 0.77), (0.66, 0.77))


class LandmarkModel:
    """[1, 3, 96, 96] -> [1, 10], x and y in 0..1 of the crop. Thread-safe: keeps nothing between calls."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._points(np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8))  # the first run's cost, before a person waits

    def landmarks(self, picture: Rgb, detection: Detection) -> np.ndarray:
        """[5, 2] float32 in picture pixels."""
        matrix = _crop_matrix(detection)
        points = self._points(warped(picture, matrix, CROP_SIZE, smooth=True))
        return moved(points * CROP_SIZE - 0.5, cv2.invertAffineTransform(matrix)).astype(np.float32)

    def _points(self, crop: Rgb) -> np.ndarray:
        """[96, 96, 3] -> [5, 2], 0..1 of the crop."""
        return self._network(planes(crop, 127.5, 127.5)[None])[0].reshape(5, 2)


def mean_landmarks(detection: Detection) -> np.ndarray:
    """[5, 2] float32 in picture pixels: where they would be in an average upright face."""
    corner = np.array([detection.x, detection.y]) - detection.side / 2
    points = corner + np.array(_MEAN_SHAPE) * detection.side
    return moved(points, cv2.invertAffineTransform(detection.upright)).astype(np.float32)


def _crop_matrix(detection: Detection) -> np.ndarray:
    """[2, 3]: picture pixels to crop pixels, upright."""
    zoom = CROP_SIZE / (CROP_BOXES * detection.side)
    x, y = detection.x, detection.y + (CROP_CENTRE - 0.5) * detection.side
    middle = CROP_SIZE / 2
    cropping = np.array([[zoom, 0, middle - zoom * x], [0, zoom, middle - zoom * y]])
    return cropping @ np.vstack([detection.upright, (0, 0, 1)])
