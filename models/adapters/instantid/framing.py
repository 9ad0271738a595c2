"""Where the face goes on the canvas: as in a picture, or composed, so that nobody's head size and turn are copied.

Keypoints fix the framing of an InstantID portrait almost exactly. A composed face is a mean head in three dimensions,
turned, and laid on the canvas in a portrait's usual place; of the person it keeps how long the face is.
"""

from dataclasses import dataclass

import numpy as np

from models.adapters.adapter import Pose, Scene, Size
from models.faces.align import similarity
from models.wire.groups import Framing

# In distances between the eyes, from the middle between them: x to the picture's right, y down, z to the camera. x and
# y are ArcFace's template (see faces/align.py), the nose's depth is that of faces/measures.py.
_HEAD = np.array([(-0.5, 0, 0), (0.5, 0, 0), (0, 0.571, 0.5), (-0.414, 1.155, 0.1), (0.414, 1.155, 0.1)])
_MOUTH_DROP = 1.155
_LENGTH_RANGE = (0.85, 1.15)  # of a person's face to the mean one; beyond it is a head bent, not a face long
# A detector's box about that head, chin and brows in it.
_BOX = (-1.1, -0.95, 1.1, 1.95)
_BOX_HEIGHT = _BOX[3] - _BOX[1]
_MOST_OF_CANVAS = 0.9  # of either side, for a copied face's box
_TALLEST_CANVAS = 1.25  # heights count up to this many widths, so that a tall canvas doesn't blow the face up


@dataclass(frozen=True, slots=True)
class Composition:
    """`face`: the box's height, and `eyes`: the eyes' place from the top, both as shares of the canvas's height."""

    face: float
    eyes: float
    yaw_degrees: float = 0.0  # to the picture's right is positive


_COMPOSITIONS: dict[Framing, Composition] = {
    "front": Composition(face=0.42, eyes=0.40),
    "slight-left": Composition(face=0.42, eyes=0.40, yaw_degrees=-20),
    "slight-right": Composition(face=0.42, eyes=0.40, yaw_degrees=20),
    "closer": Composition(face=0.56, eyes=0.42),
    "wider": Composition(face=0.28, eyes=0.34),
}


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A face on the canvas."""

    landmarks: np.ndarray  # [5, 2]
    box: tuple[float, float, float, float]


def place(scene: Scene, selfie: Pose) -> Placed:
    """By the pose photo if there is one, else by the framing; without either, from the front."""
    canvas = (scene.sampling.width, scene.sampling.height)
    if scene.pose is not None:
        return _copied(scene.pose, canvas)
    if scene.placing.framing == "selfie":
        return _copied(selfie, canvas)
    return _composed(_COMPOSITIONS[scene.placing.framing or "front"], _length(selfie), canvas)


def _copied(pose: Pose, canvas: Size) -> Placed:
    """The face keeps its place in the picture, which is scaled to cover the canvas: less, if the face needs it."""
    corners = np.array(pose.box).reshape(2, 2)
    room, size = np.array(canvas), np.array(pose.size)
    face = np.maximum(corners[1] - corners[0], 1)
    scale = min(max(room / size), *(_MOST_OF_CANVAS * room / face))
    centre = corners.mean(axis=0)
    shift = centre * (room / size) - scale * centre
    low, high = corners * scale + shift
    shift = shift + np.maximum(-low, 0) + np.minimum(room - high, 0)  # the whole face shows
    return Placed(pose.landmarks * scale + shift, _box(corners * scale + shift))


def _composed(composition: Composition, length: float, canvas: Size) -> Placed:
    width, height = canvas
    reach = min(height, _TALLEST_CANVAS * width)
    unit = composition.face * reach / _BOX_HEIGHT  # pixels between the eyes, seen from the front
    eyes = np.array([width / 2, composition.eyes * height])
    angle = np.radians(composition.yaw_degrees)
    x, y, z = _HEAD.T
    turned = np.stack([x * np.cos(angle) + z * np.sin(angle), y * length], axis=1)  # [5, 2]
    corners = np.array(_BOX).reshape(2, 2) * (1, length) * unit + eyes
    return Placed(turned * unit + eyes, _box(corners))


def _length(selfie: Pose) -> float:
    """How long the face is against the mean one: eyes to mouth over the distance between the eyes.

    Measured upright. A head turned aside brings the eyes together and would seem long: the nose tells how far.
    """
    left, right, nose, *mouth = _upright(selfie.landmarks)
    apart = right[0] - left[0]
    if apart <= 0:
        return 1.0
    aside = (nose[0] - (left[0] + right[0]) / 2) / apart / _HEAD[2, 2]  # tangent of the yaw
    drop = (mouth[0] + mouth[1] - left - right)[1] / 2
    return float(np.clip(drop / (apart * np.hypot(1, aside)) / _MOUTH_DROP, *_LENGTH_RANGE))


def _upright(landmarks: np.ndarray) -> np.ndarray:
    turn = similarity(landmarks)
    return landmarks @ turn[:, :2].T


def _box(corners: np.ndarray) -> tuple[float, float, float, float]:
    (x0, y0), (x1, y1) = corners.tolist()
    return (x0, y0, x1, y1)
