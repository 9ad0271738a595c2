"""How much boxes overlap, and which of several to keep."""

import numpy as np


def corners(squares: np.ndarray) -> np.ndarray:
    """[N, 3], centre x, y and side -> [N, 4], x0, y0, x1, y1."""
    half = squares[:, 2:] / 2
    return np.concatenate([squares[:, :2] - half, squares[:, :2] + half], axis=1)


def shares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes x0, y0, x1, y1: [N, 4] and [M, 4] -> [N, M]."""
    a, b = first[:, None], second[None]
    width, height = np.moveaxis(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), -1, 0)
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    areas = [np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) for boxes in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def kept(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """Greedy non-maximum suppression: indices to keep, best first. `boxes` [N, 4] x0, y0, x1, y1.

    A box goes if its intersection over union with a better one is over `threshold`.
    """
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0) * (y1 - y0)
    order = np.argsort(-scores, kind="stable")
    keep: list[int] = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest])
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[shared / (areas[best] + areas[rest] - shared) <= threshold]
    return keep
