"""How much there is to see in a face: less in a blurred one, and in a dark one that was drawn without care."""

import cv2
import numpy as np

MARGIN = 0.5  # around the five landmarks, in distances between the eyes


def face_detail(picture: np.ndarray, landmarks: np.ndarray) -> float:
    """Mean difference of neighbouring pixels' brightness, of 255, around `landmarks` [5, 2] of [H, W, 3] uint8 sRGB."""
    margin = MARGIN * float(np.linalg.norm(landmarks[1] - landmarks[0]))
    limits = np.array(picture.shape[1::-1])
    left, top = np.clip(landmarks.min(axis=0) - margin, 0, limits - 2).astype(int)
    right, bottom = np.clip(landmarks.max(axis=0) + margin, (left + 2, top + 2), limits).astype(int)
    grey = cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean()) / 2
