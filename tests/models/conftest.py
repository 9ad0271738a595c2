"""Shared: the golden folder, and a bundle on disk in the published layout made from it."""

import json
import shutil
from pathlib import Path

import pytest
import skimage.data
import torch
from safetensors.torch import load_file, save_file

from models.wire.reports import Ready
from models.wire.setup import Setup
from scripts.golden import RECORDS
from scripts.golden.instantid import InstantIDFolder
from tests.models.running import Harness, picture_of

GOLDEN, GOLDEN_INSTANTID = RECORDS / "photomaker", RECORDS / "instantid"

MANIFEST = """
[bundles.golden]
title = "tiny random weights in the published layout"
unet = "base/unet"
vae = "base/vae"
text_encoder = "base/text_encoder"
text_encoder_2 = "base/text_encoder_2"
tokenizer = "base/tokenizer"
tokenizer_2 = "base/tokenizer_2"
scheduler = "base/scheduler"
adapters = [{ type = "photomaker", path = "photomaker/photomaker-v1.bin" }]
loras = [{ path = "distillation/lora.safetensors", scale = 1.0 }]
size = [64, 64]
sizes = [[64, 64], [96, 64]]
samplers = ["euler", "ddim", "lcm", "tcd", "euler-ancestral"]
final = { sizes = [[128, 128], [192, 128]], steps = 8, refining = 3 }
"""


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    """SDXL in diffusers folders (fp16-variant file name), PhotoMaker as the published pickle, a kohya LoRA."""
    configs = json.loads((GOLDEN / "configs.json").read_text())
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        folder = tmp_path / "base" / part
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(configs[part]))
        name = "model.fp16.safetensors" if part.startswith("text") else "diffusion_pytorch_model.fp16.safetensors"
        shutil.copy(GOLDEN / f"{part}.safetensors", folder / name)
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(GOLDEN / part, tmp_path / "base" / part)
    (tmp_path / "base" / "scheduler").mkdir()
    (tmp_path / "base" / "scheduler" / "scheduler_config.json").write_text(json.dumps(configs["scheduler"]))
    (tmp_path / "photomaker").mkdir()
    shutil.copy(GOLDEN / "photomaker-v1.bin", tmp_path / "photomaker")
    shape = json.loads((GOLDEN / "photomaker_v1.json").read_text())
    kept = {name: shape[name] for name in ("vision_config", "cross_attention_dim")}
    (tmp_path / "photomaker" / "config.json").write_text(json.dumps(kept))
    (tmp_path / "distillation").mkdir()
    save_file(kohya_lora(load_file(GOLDEN / "unet.safetensors")), tmp_path / "distillation" / "lora.safetensors")
    (tmp_path / "manifest.toml").write_text(MANIFEST + manifest_files(tmp_path))
    return tmp_path


def kohya_lora(unet: dict[str, torch.Tensor], rank: int = 2) -> dict[str, torch.Tensor]:
    """A LoRA on every attention, feed-forward and 3x3 convolution weight, in SDXL-Lightning's key format."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for key, weight in unet.items():
        if (
            not key.endswith(".weight")
            or weight.dim() not in (2, 4)
            or ("attentions" not in key and "conv1" not in key)
        ):
            continue
        name = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
        out_width, *in_shape = weight.shape
        state[f"{name}.lora_down.weight"] = torch.randn(rank, *in_shape, generator=generator) * 0.02
        ones = [1] * (weight.dim() - 2)
        state[f"{name}.lora_up.weight"] = torch.randn(out_width, rank, *ones, generator=generator) * 0.02
        state[f"{name}.alpha"] = torch.tensor(1.0)
    return state


def manifest_files(root: Path) -> str:
    """A [[files]] entry for everything under `root`, with the true size and no hash (locked on first use)."""
    entries = [
        f'[[files]]\npath = "{path.relative_to(root)}"\n'
        'licence = "CC0-1.0"\ncommercial = "yes"\norigin = "made by a test"\n'
        f"size = {path.stat().st_size}\n"
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".toml"
    ]
    return "\n".join(["", *entries])


@pytest.fixture(scope="session")
def astronaut():
    return picture_of(skimage.data.astronaut())


@pytest.fixture(scope="module")
def records():
    """InstantID's recorded tensors, and the modules of their checkpoints."""
    return InstantIDFolder(GOLDEN_INSTANTID)


@pytest.fixture
def setup(weights_dir):
    manifest = str(weights_dir / "manifest.toml")
    return Setup(bundle="golden", manifest=manifest, weights_dir=str(weights_dir), device="cpu", max_rows=4)


@pytest.fixture
def harness(setup):
    harness = Harness(setup)
    harness.wait(Ready)
    yield harness
    harness.stop()
