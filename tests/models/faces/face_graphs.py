"""Small ONNX graphs with the shapes of the real ones: seeded convolutions, so their output follows every pixel.

Written with the `onnx` package, which the service itself does not need.
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
STRIDES = (8, 16, 32)


def scrfd(seed: int = 3, *, batched: bool = False, outputs: int = 9) -> bytes:
    """SCRFD's nine outputs for an image of any size: scores, boxes and landmarks at three strides, two anchors."""
    rng = np.random.default_rng(seed)
    graph = _Graph(rng)
    branches = (("score", 2, 1), ("bbox", 8, 4), ("kps", 20, 10))[: outputs // 3]
    for kind, channels, width in branches:
        for stride in STRIDES:
            raw = graph.convolution(f"{kind}_{stride}", channels, stride, gain=_GAINS[kind], bias=_BIASES[kind])
            shaped = graph.rows(raw, (1, -1, width) if batched else (-1, width))
            graph.finish(shaped, f"{kind}_{stride}", _ACTIVATIONS[kind], rank=3 if batched else 2, width=width)
    return graph.model("input.1", ["height", "width"])


_GAINS = {"score": 1.5, "bbox": 1.0, "kps": 1.0}
_BIASES = {"score": -3.2, "bbox": 2.0, "kps": 0.0}
_ACTIVATIONS = {"score": "Sigmoid", "bbox": "Softplus", "kps": None}


def yunet(seed: int = 5, *, side: int | None = None) -> bytes:
    """YuNet's twelve outputs: class, objectness, box and landmarks at three strides, one anchor."""
    rng = np.random.default_rng(seed)
    graph = _Graph(rng, scale=1 / 128)
    for kind, width, activation in (
        ("cls", 1, "Sigmoid"),
        ("obj", 1, "Sigmoid"),
        ("bbox", 4, None),
        ("kps", 10, None),
    ):
        for stride in STRIDES:
            raw = graph.convolution(f"{kind}_{stride}", width, stride, gain=0.8, bias=0.3 if activation else 0.0)
            shaped = graph.rows(raw, (1, -1, width))
            graph.finish(shaped, f"{kind}_{stride}", activation, rank=3, width=width)
    return graph.model("input", [side, side] if side else ["height", "width"])


def recogniser(seed: int = 7, *, channels: int = 32) -> bytes:
    """[N, 3, 112, 112] -> [N, 16 * channels]."""
    graph = _Graph(np.random.default_rng(seed))
    raw = graph.convolution("features", channels, 28, gain=1.0, bias=0.0)
    graph.nodes.append(helper.make_node("Flatten", [raw], ["embedding"], axis=1))
    graph.outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 16 * channels]))
    return graph.model("data", [112, 112])


def landmarks() -> bytes:
    """[N, 3, 96, 96] -> [N, 10]: the same five points in every crop, a little off the mean shape."""
    points = np.array([[0.40, 0.43, 0.62, 0.41, 0.52, 0.57, 0.42, 0.68, 0.61, 0.67]], np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["crop"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["points", "nothing"], ["landmarks"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        numpy_helper.from_array(points, "points"),
    ]
    inputs = [helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["n", 3, 96, 96])]
    outputs = [helper.make_tensor_value_info("landmarks", TensorProto.FLOAT, ["n", 10])]
    return _serialised(nodes, inputs, outputs, constants)


class _Graph:
    """Convolutions of the one input, each with its own seeded kernel as large as its stride."""

    def __init__(self, rng: np.random.Generator, scale: float = 1.0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._rng = rng
        self._scale = scale

    def convolution(self, name: str, channels: int, stride: int, *, gain: float, bias: float) -> str:
        kernel = self._rng.normal(0, gain * self._scale / stride, (channels, 3, stride, stride))
        self._constant(f"{name}_kernel", kernel.astype(np.float32))
        self._constant(f"{name}_bias", np.full(channels, bias, np.float32))
        inputs = ["image", f"{name}_kernel", f"{name}_bias"]
        self.nodes.append(
            helper.make_node("Conv", inputs, [f"{name}_map"], kernel_shape=[stride, stride], strides=[stride, stride])
        )
        return f"{name}_map"

    def rows(self, name: str, shape: tuple[int, ...]) -> str:
        """[1, C, H, W] -> one row per anchor."""
        self._constant(f"{name}_shape", np.array(shape, np.int64))
        self.nodes.append(helper.make_node("Transpose", [name], [f"{name}_last"], perm=[0, 2, 3, 1]))
        self.nodes.append(helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [f"{name}_rows"]))
        return f"{name}_rows"

    def finish(self, name: str, output: str, activation: str | None, *, rank: int, width: int) -> None:
        self.nodes.append(helper.make_node(activation or "Identity", [name], [output]))
        shape = [1, f"{output}_count", width] if rank == 3 else [f"{output}_count", width]
        self.outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, shape))

    def model(self, input_name: str, sides: list) -> bytes:
        for node in self.nodes:
            node.input[:] = [input_name if name == "image" else name for name in node.input]
        inputs = [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, [1, 3, *sides])]
        return _serialised(self.nodes, inputs, self.outputs, self._constants)

    def _constant(self, name: str, values: np.ndarray) -> None:
        self._constants.append(numpy_helper.from_array(values, name))


def _serialised(nodes: list, inputs: list, outputs: list, constants: list) -> bytes:
    graph = helper.make_graph(nodes, "fake", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()
