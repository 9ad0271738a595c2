"""Trained stages to a bundle in the published layout: one folder per component, half-precision safetensors."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.adapters.photomaker.encoder import PhotoMakerEncoder
from models.sdxl.attention import attention_layers, cross_attention_slots
from scripts.train_tiny.lessons.generator import SCHEDULER, trained_generator
from scripts.train_tiny.lessons.imitate import trained_imitation
from scripts.train_tiny.lessons.instant import Instant
from scripts.train_tiny.lessons.onnx_export import export_finder, export_landmarks, export_recogniser
from scripts.train_tiny.lessons.vae import trained_vae

FACE_SPACE = "proofsheet-tiny"
PHOTOMAKER_FOLDERS = {"v1": "photomaker-v1", "v2": "photomaker"}


def export_faces(folder: Path, target: Path) -> None:
    export_finder(folder, target)
    export_landmarks(folder, target)
    export_recogniser(folder, target)


def export_bundle(text: Path, folder: Path, target: Path) -> None:
    generator, vae = trained_generator(text, folder), trained_vae(folder)
    vae_config = _own(dict(vae.config))
    del vae_config["block_out_channels"]  # written by the class, refused when it is read back
    _write(target / "vae", vae, {"_class_name": "AutoencoderTiny", **vae_config})
    unet = generator.unet
    _write(target / "unet", unet, {"_class_name": "UNet2DConditionModel", **_own(dict(unet.config))})
    for name in ("text_encoder", "text_encoder_2"):
        encoder: nn.Module = getattr(generator, name)
        _write_text_encoder(target / name, encoder)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(text / name, target / name, dirs_exist_ok=True)
    for encoder in (generator.id_encoder, trained_imitation(folder)):
        _write_photomaker(target / PHOTOMAKER_FOLDERS[encoder.shape.version], encoder)
    _write_instantid(target / "instantid", generator.instant, unet)
    scheduler = {
        "_class_name": "EulerDiscreteScheduler",
        **SCHEDULER,
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
        "steps_offset": 1,
        "interpolation_type": "linear",
        "use_karras_sigmas": False,
    }
    _write_json(target / "scheduler" / "scheduler_config.json", scheduler)
    _write_json(target / "model_index.json", _index())


def _write(folder: Path, module: nn.Module, config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config)
    save_file(_half(module.state_dict()), folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})


def _write_text_encoder(folder: Path, encoder: nn.Module) -> None:
    """Keys as published files have them: under `text_model.`, whatever transformers calls them now."""
    folder.mkdir(parents=True, exist_ok=True)
    config = encoder.config
    wanted = (
        "vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads",
        "max_position_embeddings", "hidden_act", "layer_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id",
    )  # fmt: skip
    names = {"architectures": [type(encoder).__name__], "model_type": "clip_text_model"}
    _write_json(folder / "config.json", {**names, **{name: getattr(config, name) for name in wanted}})
    state = {
        key if key.startswith(("text_model.", "text_projection")) else f"text_model.{key}": tensor
        for key, tensor in encoder.state_dict().items()
        if not key.endswith("position_ids")
    }
    save_file(_half(state), folder / "model.safetensors", {"format": "pt"})


def _write_photomaker(folder: Path, encoder: PhotoMakerEncoder) -> None:
    """No LoRA: the UNet was trained with the identity, so there is nothing to add to it."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = encoder.shape
    config: dict[str, Any] = {
        "version": shape.version,
        "vision_config": asdict(shape.vision),
        "cross_attention_dim": shape.cross_attention_dim,
        "num_tokens": shape.tokens_per_picture,
    }
    if shape.perceiver is not None:
        config |= {"perceiver": asdict(shape.perceiver), "id_embedding_space": FACE_SPACE}
    _write_json(folder / "config.json", config)
    state = {f"id_encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
    save_file(_half(state), folder / f"photomaker-{shape.version}.safetensors", {"format": "pt"})


def _write_instantid(folder: Path, instant: Instant, unet: nn.Module) -> None:
    """InstantID's layout. In float8, because the bundle is small and these parts only add to what the UNet knows."""
    numbers = {name: n for n, (name, _) in enumerate(attention_layers(unet))}
    keys, values = instant.projection.weight.chunk(2)
    projections = {
        f"ip_adapter.{numbers[name]}.to_{part}_ip.weight": weight[slot]
        for part, weight in (("k", keys), ("v", values))
        for name, _, slot in cross_attention_slots(unet)
    }
    resampler = {f"image_proj.{key}": tensor for key, tensor in instant.resampler.state_dict().items()}
    net = folder / "ControlNetModel"
    net.mkdir(parents=True, exist_ok=True)
    save_file(_quarter(resampler | projections), folder / "ip-adapter.safetensors", {"format": "pt"})
    save_file(_quarter(instant.net_state()), net / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    _write_json(net / "config.json", {"_class_name": "ControlNetModel", **_own(dict(instant.net.config))})


def _quarter(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels in float8 (e4m3), the few other numbers in float16. Loading casts either."""
    return {
        key: tensor.to(torch.float8_e4m3fn if tensor.ndim > 1 else torch.float16).contiguous()
        for key, tensor in state.items()
        if tensor.is_floating_point()
    }


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """float16; whole numbers (position ids) are left out, as in published files."""
    return {k: v.to(torch.float16).contiguous() for k, v in state.items() if v.is_floating_point()}


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """A diffusers config without what the library adds at run time."""
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _index() -> dict[str, Any]:
    return {
        "_class_name": "StableDiffusionXLPipeline",
        "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
