"""Checkpoints from an exported bundle, so that training can go on where the published weights ended.

Optimizer moments and clocks start afresh. Half-precision weights are close enough: the first steps mend the rest.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor, nn

from models.adapters.decoupled import load_image_projection
from models.adapters.prefixes import under
from scripts.train_tiny.judging.judges import StyleNet, style_crop
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.export import PHOTOMAKER_FOLDERS
from scripts.train_tiny.lessons.generator import Generator
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.recogniser import RecogniserLesson, Residual, draw_view, to_planes
from scripts.train_tiny.lessons.text import read_tokenizers
from scripts.train_tiny.lessons.tower import TowerLesson
from scripts.train_tiny.lessons.trainer import channels_last, write_start
from scripts.train_tiny.lessons.vae import build_vae

CALIBRATION_PEOPLE = 200
Folded = tuple[nn.Module, nn.Module | None]  # a layer, and the batch norm that was folded into it


def restore_recogniser(bundle: Path, shards: Path, folder: Path) -> None:
    """The exported graph has its batch norms folded into its convolutions; here they come alive again."""
    torch.manual_seed(0)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    lesson = RecogniserLesson()
    weights = _graph_weights(bundle / "faces" / "recogniser.onnx")
    views = [draw_view(shard, person, rng) for shard, person in Pool(shards, rng).people(CALIBRATION_PEOPLE)]
    network = lesson.network
    ends = ((network.squeeze[0], None), (network.embed[0], None))
    order = [*_convolutions(network.stem, network.blocks.children()), *ends]
    _unfold(network, order, weights, snapshot(to_planes(views), generator) * 2 - 1)
    write_start("recogniser", lesson, folder)


def restore_style_judge(bundle: Path, shards: Path, folder: Path) -> None:
    """So that it can learn what the renderer draws otherwise since; the likeness judge begins anew when it must."""
    torch.manual_seed(0)
    rng, network = np.random.default_rng(0), StyleNet()
    pictures = [style_crop(shard.portrait(person, 0)) for shard, person in Pool(shards, rng).people(CALIBRATION_PEOPLE)]
    layers = network.trunk.layers
    ends = ((network.trunk.squeeze[0], None), (network.factors, None))
    order = [*_convolutions(layers[:2], layers[3:].children()), *ends]
    _unfold(network, order, _graph_weights(bundle / "judge" / "style.onnx"), to_planes(pictures) * 2 - 1)
    write_start("judge_style", channels_last(network), folder)


def restore_autoencoder(bundle: Path, folder: Path) -> None:
    """The decoder stage only: latents stay what the published generator knows."""
    vae = build_vae()
    vae.load_state_dict(_floats(bundle / "vae" / "diffusion_pytorch_model.safetensors"))
    write_start("decoder", channels_last(vae), folder)


def restore_generator(bundle: Path, text: Path, folder: Path) -> None:
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(bundle / name, text / name, dirs_exist_ok=True)
    generator = Generator(read_tokenizers(text))
    generator.unet.load_state_dict(_floats(bundle / "unet" / "diffusion_pytorch_model.safetensors"))
    for name in ("text_encoder", "text_encoder_2"):
        _load_text(generator.get_submodule(name), _floats(bundle / name / "model.safetensors"))
    stored = _floats(bundle / PHOTOMAKER_FOLDERS["v2"] / "photomaker-v2.safetensors")
    generator.id_encoder.load_state_dict(under("id_encoder.", stored))
    adapter = _floats(bundle / "instantid" / "ip-adapter.safetensors")
    instant, projections = generator.instant, load_image_projection(under("ip_adapter.", adapter), generator.unet)
    instant.resampler.load_state_dict(under("image_proj.", adapter))
    instant.projection.load_state_dict(projections.state_dict())
    instant.load_net_state(_floats(bundle / "instantid/ControlNetModel/diffusion_pytorch_model.safetensors"))
    channels_last(generator.unet)
    channels_last(instant)
    write_start("generator", generator, folder)


def restore_tower(bundle: Path, folder: Path) -> None:
    """Without its heads, which learn anew in a minute."""
    lesson = TowerLesson()
    stored = _floats(bundle / PHOTOMAKER_FOLDERS["v1"] / "photomaker-v1.safetensors")
    lesson.encoder.load_state_dict(under("id_encoder.", stored))
    write_start("tower", lesson, folder)


def _floats(path: Path) -> dict[str, Tensor]:
    return {key: tensor.float() for key, tensor in load_file(path).items()}


def _load_text(encoder: nn.Module, stored: dict[str, Tensor]) -> None:
    """Files have CLIP's keys under `text_model.`; what transformers calls them depends on its version."""
    own = encoder.state_dict()
    found = {key: stored[key if key in stored else f"text_model.{key}"] for key in own if "position_ids" not in key}
    encoder.load_state_dict(own | found)


def _graph_weights(path: Path) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Weight and bias of every Conv and Gemm, in the order of the graph."""
    graph = onnx.load(path).graph
    stored = {i.name: numpy_helper.to_array(i) for i in graph.initializer}

    def numbers(name: str) -> Tensor:
        plain = stored[name] if name in stored else stored[f"{name}.int8"] * stored[f"{name}.scale"]
        return torch.from_numpy(plain.astype(np.float32))

    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight, *bias = (numbers(name) for name in node.input[1:])
            yield weight, bias[0] if bias else None


def _convolutions(stem: nn.Module, blocks: Iterable[nn.Module]) -> Iterator[Folded]:
    """In the order of the graph."""
    first, norm = list(stem.children())[:2]
    yield first, norm
    for block in blocks:
        assert isinstance(block, Residual)
        if not isinstance(block.skip, nn.Identity):
            yield block.skip, None
        yield block.first[0], block.first[1]
        yield block.second[0], block.second[1]


@torch.no_grad()
def _unfold(
    network: nn.Module, order: Iterable[Folded], weights: Iterator[tuple[Tensor, Tensor | None]], views: Tensor
) -> None:
    """Batch norms get the statistics of `views` and whatever scale and shift leaves the function as it was."""
    biases: dict[nn.Module, Tensor] = {}

    def revive(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.copy_(inputs[0].mean((0, 2, 3)))
        norm.running_var.copy_(inputs[0].var((0, 2, 3), unbiased=False))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(biases[norm] + norm.running_mean)

    for (layer, norm), (weight, bias) in zip(order, weights, strict=True):
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        layer.weight.copy_(weight)
        if norm is not None and bias is not None:
            biases[norm] = bias
        elif layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)
    hooks = [norm.register_forward_pre_hook(revive) for norm in biases]
    network.eval()(views)
    for hook in hooks:
        hook.remove()
    network.train()
