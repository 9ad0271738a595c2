"""Where a face's five landmarks go: the similarity to the ArcFace template, and the crops made with it.

The template is the published one of ArcFace (https://arxiv.org/abs/1801.07698), five points in a 112x112 crop.
"""

import cv2
import numpy as np

from models.faces.face import Rgb

TEMPLATE_SIZE = 112
_TEMPLATE = (
    (38.2946, 51.6963),  # image-left eye
    (73.5318, 51.5014),  # image-right eye
    (56.0252, 71.7366),  # nose tip
    (41.5493, 92.3655),  # image-left mouth corner
    (70.7299, 92.2041),  # image-right mouth corner
)


def similarity(landmarks: np.ndarray, size: int = TEMPLATE_SIZE) -> np.ndarray:
    """The least-squares turn, scale and shift that lays `landmarks` [5, 2] on the template; [2, 3] float64.

    In the plane this is Umeyama's closed form (https://doi.org/10.1109/34.88573) without its reflection case: with
    points as complex numbers, one complex factor turns and scales.
    """
    source = landmarks.astype(np.float64) @ (1, 1j)  # [5]
    target = np.array(_TEMPLATE) @ (1, 1j) * (size / TEMPLATE_SIZE)  # [5]
    centred = source - source.mean()
    spread = float(np.vdot(centred, centred).real)
    factor = complex(np.vdot(centred, target - target.mean())) / spread if spread > 0 else 1.0 + 0j
    shift = complex(target.mean() - factor * source.mean())
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def aligned(picture: Rgb, landmarks: np.ndarray, size: int = TEMPLATE_SIZE, smooth: bool = False) -> Rgb:
    """The face upright in a `size` x `size` crop, black where it leaves the picture.

    Plain bilinear, as insightface crops, because its recognisers' embeddings depend on it. `smooth` shrinks a large
    picture by area first, so that a big face is averaged down and not sampled at every tenth pixel.
    """
    return warped(picture, similarity(landmarks, size), size, smooth)


def warped(picture: Rgb, matrix: np.ndarray, size: int, smooth: bool = False) -> Rgb:
    """`matrix` [2, 3] maps picture pixels to crop pixels."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if smooth and scale < 0.5:
        picture, matrix = _shrunk(picture, matrix, size, 2 * scale)
    crop = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
    return crop.astype(np.uint8, copy=False)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`points` [..., 2] through `matrix` [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _shrunk(picture: Rgb, matrix: np.ndarray, size: int, scale: float) -> tuple[Rgb, np.ndarray]:
    """The part of the picture that the crop shows, `scale` times as large, and the matrix that goes with it."""
    corners = moved(np.array([(0, 0), (size, 0), (size, size), (0, size)]), cv2.invertAffineTransform(matrix))
    margin = 2 / scale  # two pixels for the interpolation
    left, top = np.maximum(np.floor(corners.min(axis=0) - margin), 0).astype(int)
    right, bottom = np.maximum(np.ceil(corners.max(axis=0) + margin), 0).astype(int)
    part = picture[top:bottom, left:right]
    height, width = part.shape[:2]
    if not part.size:
        return picture, matrix
    smaller = (max(1, round(scale * width)), max(1, round(scale * height)))
    x, y = width / smaller[0], height / smaller[1]
    # Pixel centres of the shrunk part to pixel centres of the picture.
    enlarging = np.array([[x, 0, (x - 1) / 2 + left], [0, y, (y - 1) / 2 + top], [0, 0, 1]])
    shrunk = cv2.resize(part, smaller, interpolation=cv2.INTER_AREA)
    return shrunk.astype(np.uint8, copy=False), matrix @ enlarging
