"""Write insightface.npz: insightface's own code on the graphs of tests/models/faces/face_graphs.py.

Run in an environment that has this project's development requirements and insightface (see README.md).
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import skimage.data
from insightface.app.common import Face
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.scrfd import SCRFD
from insightface.utils import face_align

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "models" / "faces"))

import face_graphs  # noqa: E402
from face_views import LANDMARKS, SCRFD_SEED, views  # noqa: E402


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        detector = SCRFD(_written(folder, "scrfd.onnx", face_graphs.scrfd(SCRFD_SEED)))
        detector.prepare(-1, input_size=(640, 640), det_thresh=0.5)
        for name, view in views().items():
            found, points = detector.detect(np.ascontiguousarray(view[..., ::-1]))
            arrays[f"{name}_boxes"], arrays[f"{name}_landmarks"] = found, points
        recogniser = ArcFaceONNX(_written(folder, "recogniser.onnx", face_graphs.recogniser()))
        astronaut = skimage.data.astronaut()
        arrays["matrix"] = face_align.estimate_norm(LANDMARKS)
        arrays["crop"] = face_align.norm_crop(astronaut, LANDMARKS)
        arrays["embedding"] = recogniser.get(np.ascontiguousarray(astronaut[..., ::-1]), Face(kps=LANDMARKS))
    np.savez_compressed(HERE / "insightface.npz", **arrays)


def _written(folder: str, name: str, data: bytes) -> str:
    path = Path(folder) / name
    path.write_bytes(data)
    return str(path)


if __name__ == "__main__":
    main()
