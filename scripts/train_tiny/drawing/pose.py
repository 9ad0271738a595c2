"""How a person is seen in one picture: angle, framing, expression. Nuisance for a recogniser."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnPose:
    """Angles in radians but `roll` in degrees; `scale` and shifts are in canvas pixels at 256."""

    yaw: float
    pitch: float
    roll: float
    scale: float
    shift: tuple[float, float]
    smile: float  # -0.2..1; teeth show from about 0.5
    gaze: float
    light: float  # -1: lit from the right, 1: from the left
    seed: int  # of the background


def selfie_pose(rng: np.random.Generator) -> DrawnPose:
    return DrawnPose(
        yaw=float(np.clip(rng.normal(0, 0.24), -0.6, 0.6)),
        pitch=float(rng.normal(0, 0.13)),
        roll=float(rng.normal(0, 6)),
        scale=float(rng.uniform(1.0, 1.6)),
        shift=(float(rng.normal(0, 8)), float(rng.normal(4, 8))),
        smile=float(rng.uniform(-0.2, 1)),
        gaze=float(rng.normal(0, 0.3)),
        light=float(rng.uniform(-1, 1)),
        seed=int(rng.integers(1 << 30)),
    )


def portrait_pose(rng: np.random.Generator) -> DrawnPose:
    """Frontal and centred: a generator of few steps draws the mean of all poses, and thin rims of glasses blur away.

    With a yaw of 0.1 and a pitch of 0.02 it did: see scripts/train_tiny/DECISIONS.md.
    """
    return DrawnPose(
        yaw=float(rng.normal(0, 0.03)),
        pitch=float(rng.normal(0, 0.004)),
        roll=float(rng.normal(0, 0.3)),
        scale=1.42,
        shift=(0.0, 9.0),
        smile=float(rng.uniform(0.3, 0.7)),
        gaze=0.0,
        light=1.0,
        seed=int(rng.integers(1 << 30)),
    )


def posed_pose(rng: np.random.Generator) -> DrawnPose:
    """Anywhere that InstantID's framings ask for: what keypoints should decide must vary."""
    scale = float(rng.uniform(0.6, 1.45))
    eyes = float(rng.uniform(0.32, 0.46)) * 256
    return DrawnPose(
        yaw=float(np.clip(rng.normal(0, 0.25), -0.55, 0.55)),
        pitch=float(rng.normal(0, 0.004)),
        roll=float(rng.normal(0, 3)),
        scale=scale,
        shift=(float(rng.normal(0, 10)), eyes + 34 * scale - 150),  # unscaled, eyes are 34 pixels above the pivot
        smile=float(rng.uniform(0.3, 0.7)),
        gaze=0.0,
        light=1.0,
        seed=int(rng.integers(1 << 30)),
    )
