"""One ONNX graph, loaded from checked bytes: the only place that talks to onnxruntime."""

import os

import numpy as np

# Official builds since 1.29 report every graph that is loaded to their maker, and write a device id to the temporary
# folder as soon as they are imported (onnxruntime's docs/Privacy.md). A service that sees faces tells nobody anything.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

from models.faces.face import Rgb
from models.faces.files import FacesUnavailable

_INPUT_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class Network:
    """Runs one image-in graph. Thread-safe: onnxruntime allows concurrent runs, and nothing is kept between them.

    `session` is for insightface's classes, which run it themselves, on images of `input_type`.
    """

    def __init__(self, data: bytes, *, device: str, threads: int, name: str = "the graph") -> None:
        try:
            self.session = onnxruntime.InferenceSession(data, _options(threads), providers=_providers(device))
        except (Fail, InvalidGraph, InvalidProtobuf) as error:
            raise FacesUnavailable(f"{name} is not an ONNX graph that can be run: {error}") from error
        image = self.session.get_inputs()[0]
        self._input_name = image.name
        self.input_type = _INPUT_TYPES[image.type]
        self.input_shape = tuple(side if isinstance(side, int) else None for side in image.shape)  # None: dynamic
        self.output_names = tuple(output.name for output in self.session.get_outputs())

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(width, height) if the graph takes one size only."""
        _, _, height, width = self.input_shape
        return (width, height) if width is not None and height is not None else None

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        """`images` [N, 3, H, W] -> the outputs in the graph's order."""
        batch = np.ascontiguousarray(images, dtype=self.input_type)
        return self.session.run(None, {self._input_name: batch})  # pyright: ignore[reportReturnType]


def planes(image: Rgb, mean: float, std: float) -> np.ndarray:
    """[H, W, 3] -> [3, H, W] float32, (x - mean) / std."""
    return ((image.astype(np.float32) - np.float32(mean)) * np.float32(1 / std)).transpose(2, 0, 1)


def _options(threads: int) -> onnxruntime.SessionOptions:
    """Explicit thread counts, and no spinning: idle threads that spin would take cores from torch in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors; warnings are about shapes we chose
    return options


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    """CUDA if asked for and built in, with the CPU behind it.

    The arena grows by what is asked and convolutions are picked by heuristic: the detector sees many sizes, and the
    default (powers of two, exhaustive search per size) would take gigabytes and seconds from the generator's GPU.
    """
    if not device.startswith("cuda") or "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    _, _, index = device.partition(":")
    cuda = {
        "device_id": index or "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    return [("CUDAExecutionProvider", cuda), "CPUExecutionProvider"]
