"""What can be measured of a face in a photo without another model. All on a crop of fixed size, so scale-free."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.faces.align import TEMPLATE_SIZE, aligned, moved, similarity
from models.faces.face import Face, Rgb

# The part of the aligned crop that is face in everybody: brows to mouth, cheek to cheek; little hair or background.
_INNER_ROWS = slice(28, 106)
_INNER_COLUMNS = slice(20, 92)
_CLIPPED_LUMA = 0.97
_FACE_WIDTH = 0.82  # of its height, as detectors that fit their boxes to faces have it
# The nose tip stands about half the distance between the eyes in front of them (31 mm to 63 mm in adults).
_NOSE_DEPTH = 0.5


@dataclass(frozen=True, slots=True)
class Measures:
    """Of one face. Lumas are 0..1 of the gamma-encoded picture, shares 0..1."""

    size: float  # pixels, side of a square of the box's area
    outside: float  # share of the face, brows to mouth, or of its box that the picture does not show: the larger
    brightness: float  # mean luma
    highlight: float  # luma that 2 % of the face exceed
    clipped: float  # share of the face that is white
    sharpness: float  # see `_sharpness`
    yaw_degrees: float | None  # to the image's right is positive; None if the landmarks were not measured


def measured(picture: Rgb, face: Face) -> Measures:
    crop = aligned(picture, face.landmarks, smooth=True)[_INNER_ROWS, _INNER_COLUMNS]
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)  # [78, 72], Rec. 601 luma
    shown = _shown(picture, face)[_INNER_ROWS, _INNER_COLUMNS]
    lumas = grey[shown].astype(np.float32) / 255
    lumas = lumas if lumas.size else np.zeros(1, np.float32)
    return Measures(
        size=face.size,
        outside=max(float(1 - shown.mean()), _box_outside(picture, face)),
        brightness=float(lumas.mean()),
        highlight=float(np.quantile(lumas, 0.98)),
        clipped=float((lumas >= _CLIPPED_LUMA).mean()),
        sharpness=_sharpness(grey),
        yaw_degrees=_yaw_degrees(face.landmarks) if face.landmarks_measured else None,
    )


def _shown(picture: Rgb, face: Face) -> np.ndarray:
    """[112, 112] bool: which pixels of the aligned crop lie in the picture."""
    height, width = picture.shape[:2]
    columns, rows = np.meshgrid(np.arange(TEMPLATE_SIZE), np.arange(TEMPLATE_SIZE))
    places = moved(np.stack([columns, rows], axis=-1), cv2.invertAffineTransform(similarity(face.landmarks)))
    x, y = places[..., 0], places[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


def _box_outside(picture: Rgb, face: Face) -> float:
    """Share of the box's area beyond the picture's edges; of a square box only as much of its width as a face has."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = face.box
    wider = max((x1 - x0) - _FACE_WIDTH * (y1 - y0), 0) / 2
    x0, x1 = x0 + wider, x1 - wider
    area = max(x1 - x0, 0) * max(y1 - y0, 0)
    inside = max(min(x1, width) - max(x0, 0), 0) * max(min(y1, height) - max(y0, 0), 0)
    return 1 - inside / area if area > 0 else 1.0


def _sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian over the face's own contrast, both after a blur of one pixel of the 112 px crop.

    The plain variance of the Laplacian falls eightfold when a photo is darkened to a third, and takes noise for
    detail: this share moves by less than 5 % through both on a sharp face.
    """
    detail = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    contrast = detail - cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 8.0)
    return float(cv2.Laplacian(detail, cv2.CV_32F).var() / max(float(contrast.var()), 1e-6))


def _yaw_degrees(landmarks: np.ndarray) -> float:
    """From how far the nose tip is off the middle between the eyes, along the line of the eyes.

    A nose of depth d turned by a moves by d*sin(a), while the eyes' distance shrinks to cos(a): the ratio is
    d*tan(a).
    """
    left, right, nose = landmarks[:3].astype(np.float64)
    eyes = right - left
    offset = (nose - (left + right) / 2) @ eyes / max(float(eyes @ eyes), 1e-6)
    return float(np.degrees(np.arctan(offset / _NOSE_DEPTH)))
