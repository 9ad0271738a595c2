"""Face networks to ONNX files with 8-bit weights: a quarter of the size, whole again when the file is loaded."""

import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from scripts.train_tiny.lessons.finder import SIZE as FINDER_SIZE
from scripts.train_tiny.lessons.finder import FinderNet
from scripts.train_tiny.lessons.landmarks import SIZE as LANDMARK_SIZE
from scripts.train_tiny.lessons.landmarks import LandmarkNet
from scripts.train_tiny.lessons.recogniser import SIZE as RECOGNISER_SIZE
from scripts.train_tiny.lessons.recogniser import RecogniserLesson, RecogniserNet
from scripts.train_tiny.lessons.trainer import averaged_state

OPSET = 18
SMALL = 256  # numbers; biases and the like are not worth a Cast


def trained_recogniser(folder: Path) -> RecogniserNet:
    lesson = RecogniserLesson()
    lesson.load_state_dict(averaged_state(folder, "recogniser"))
    return lesson.network.eval().requires_grad_(False)


def trained_finder(folder: Path) -> FinderNet:
    network = FinderNet()
    network.load_state_dict(averaged_state(folder, "finder"))
    return network.eval().requires_grad_(False)


def trained_landmarks(folder: Path) -> LandmarkNet:
    network = LandmarkNet()
    network.load_state_dict(averaged_state(folder, "landmarks"))
    return network.eval().requires_grad_(False)


def export_finder(folder: Path, target: Path) -> None:
    export_network(trained_finder(folder), (FINDER_SIZE, FINDER_SIZE), ["faces"], target / "faces" / "finder.onnx")


def export_landmarks(folder: Path, target: Path) -> None:
    export_network(
        trained_landmarks(folder), (LANDMARK_SIZE, LANDMARK_SIZE), ["landmarks"], target / "faces" / "landmarks.onnx"
    )


def export_recogniser(folder: Path, target: Path) -> None:
    """The input is called as in insightface's packs."""
    path = target / "faces" / "recogniser.onnx"
    export_network(trained_recogniser(folder), (RECOGNISER_SIZE, RECOGNISER_SIZE), ["embedding"], path)


def export_network(network: nn.Module, size: tuple[int, int], outputs: list[str], path: Path) -> None:
    """A network from pictures [N, 3, *size] to `outputs`, for any N."""
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, 3, *size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), str(path), input_names=["input.1"], output_names=outputs, opset_version=OPSET,
            dynamic_axes={name: {0: "N"} for name in ("input.1", *outputs)}, dynamo=False,
        )  # fmt: skip
    model = onnx.load(str(path))
    _quantise(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _quantise(model: onnx.ModelProto) -> None:
    """Store large float32 initialisers as int8 with a scale for each row (output channel).

    As Cast and Mul, which every runtime folds into constants when it loads; DequantizeLinear is kept for quantised
    arithmetic and would run again for every picture.
    """
    added: list[onnx.NodeProto] = []
    scales: list[onnx.TensorProto] = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < SMALL or len(weight.dims) < 2:
            continue
        name, numbers = weight.name, numpy_helper.to_array(weight)
        scale = np.abs(numbers).max(axis=tuple(range(1, numbers.ndim)), keepdims=True) / 127
        whole = np.round(numbers / np.maximum(scale, np.finfo(np.float32).tiny)).astype(np.int8)
        weight.CopyFrom(numpy_helper.from_array(whole, f"{name}.int8"))
        scales.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"))
        added.append(helper.make_node("Cast", [f"{name}.int8"], [f"{name}.cast"], to=TensorProto.FLOAT))
        added.append(helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]))
    model.graph.initializer.extend(scales)
    nodes = [*added, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
