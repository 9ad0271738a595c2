"""OpenCV's YuNet detector (MIT licence): the network's twelve outputs to faces.

Run by onnxruntime like the others, and not by cv2.FaceDetectorYN: that class is not thread-safe, takes its threads
from a process-wide setting and knows no CUDA in the wheels that are published. A test holds the two against each other.
"""

from pathlib import Path

import numpy as np

from models.faces.analyzer import Analyzer
from models.faces.canvas import fitted
from models.faces.face import Face, Rgb
from models.faces.files import AURAFACE, FacesUnavailable, read_checked
from models.faces.network import Network, planes
from models.faces.overlap import kept
from models.faces.recogniser import Recogniser

STRIDES = (8, 16, 32)
MIN_SCORE = 0.6
MAX_OVERLAP = 0.3
LONG_SIDE = 640  # the training size; YuNet knows faces of about 10 to 300 pixels
RECOGNISER_FILE = "auraface_glintr100.onnx"


class YuNet:
    """Thread-safe: keeps nothing between calls."""

    def __init__(self, network: Network, *, first_side: int | None = None) -> None:
        """`first_side` is looked at before `LONG_SIDE`. A graph of one size has no choice."""
        self._network = network
        self.sides = (max(network.fixed_size),) if network.fixed_size else _search(first_side)
        self._columns = [network.output_names.index(f"{kind}_{stride}") for kind in _KINDS for stride in STRIDES]

    def detect(self, picture: Rgb) -> list[Face]:
        """Faces at the first of the sides that shows one."""
        for side in self.sides:
            if faces := self._detect_at(picture, side):
                return faces
        return []

    def _detect_at(self, picture: Rgb, side: int) -> list[Face]:
        width, height = self._network.fixed_size or _canvas_size(picture, side)
        canvas = fitted(picture, width, height)
        bgr = np.ascontiguousarray(canvas.image[..., ::-1])
        outputs = self._network(planes(bgr, 0.0, 1.0)[None])
        boxes, landmarks, scores = decoded([outputs[column] for column in self._columns], width, height)
        boxes, landmarks = boxes / canvas.scale, landmarks / canvas.scale
        keep = kept(boxes, scores, MAX_OVERLAP)
        return [Face.detected(boxes[index], landmarks[index], scores[index]) for index in keep]


_KINDS = ("cls", "obj", "bbox", "kps")


def decoded(outputs: list[np.ndarray], width: int, height: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4], landmarks [N, 5, 2] and scores [N] over `MIN_SCORE`, in canvas pixels.

    Outputs come as class, objectness, box and landmarks, three strides each. A box is an offset of its centre from
    the cell and the logarithm of its size, in units of the stride; the score is the geometric mean of the first two.
    """
    boxes, landmarks, scores = [], [], []
    for level, stride in enumerate(STRIDES):
        chances = outputs[level].reshape(-1).clip(0, 1) * outputs[level + 3].reshape(-1).clip(0, 1)
        score = np.sqrt(chances)
        found = np.flatnonzero(score >= MIN_SCORE)
        row, column = np.divmod(found, width // stride)
        cell = np.stack([column, row], axis=1).astype(np.float32)  # [n, 2]
        box = outputs[level + 6].reshape(-1, 4)[found]
        centre, side = (cell + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
        boxes.append(np.concatenate([centre - side / 2, centre + side / 2], axis=1))
        landmarks.append((cell[:, None] + outputs[level + 9].reshape(-1, 5, 2)[found]) * stride)
        scores.append(score[found])
    return np.concatenate(boxes), np.concatenate(landmarks), np.concatenate(scores)


def load_yunet(faces_dir: Path, *, device: str, threads: int, first_side: int | None = None) -> Analyzer:
    """YuNet from `faces_dir`, paired with AuraFace if that lies there too (both may be used commercially)."""
    found = sorted(faces_dir.glob("face_detection_yunet*.onnx"))
    if not found:
        raise FacesUnavailable(
            f"no face_detection_yunet*.onnx in {faces_dir}. Download face_detection_yunet_2026may.onnx from "
            "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet and put it there."
        )
    data = read_checked(found[-1], None).data
    network = Network(data, device=device, threads=threads, name=str(found[-1]))
    missing = {f"{kind}_{stride}" for kind in _KINDS for stride in STRIDES} - set(network.output_names)
    if missing:
        raise FacesUnavailable(f"{found[-1]} is not a YuNet of 2023 or later: it lacks {', '.join(sorted(missing))}.")
    detector = YuNet(network, first_side=first_side)
    return Analyzer("yunet", detector, _recogniser(faces_dir / RECOGNISER_FILE, device, threads))


def _recogniser(path: Path, device: str, threads: int) -> Recogniser | None:
    if not path.is_file():
        return None
    checked = read_checked(path, AURAFACE.sha256)
    return Recogniser(Network(checked.data, device=device, threads=threads, name=str(path)), "auraface")


def _search(first: int | None) -> tuple[int, ...]:
    return (LONG_SIDE,) if first in (None, LONG_SIDE) else (first, LONG_SIDE)


def _canvas_size(picture: Rgb, side: int) -> tuple[int, int]:
    """(width, height): the picture at no more than `side`, rounded up to the network's multiple of 32."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    return -(-max(1, int(width * scale)) // 32) * 32, -(-max(1, int(height * scale)) // 32) * 32
