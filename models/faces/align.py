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
        height, width = picture.shape[:2]
        smaller = (max(1, round(2 * scale * width)), max(1, round(2 * scale * height)))
        shrunk = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
        return warped(shrunk.astype(np.uint8, copy=False), matrix @ _enlarging((width, height), smaller), size)
    crop = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0)
    return crop.astype(np.uint8, copy=False)


def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`points` [..., 2] through `matrix` [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def _enlarging(full: tuple[int, int], smaller: tuple[int, int]) -> np.ndarray:
    """[3, 3]: pixel centres of the shrunk picture to pixel centres of the full one; sizes are (width, height)."""
    x, y = full[0] / smaller[0], full[1] / smaller[1]
    return np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
