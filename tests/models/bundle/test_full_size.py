"""Every file of the manifest fits our modules: the published names and shapes on the meta device, no weight needed.

One test for each file; a file that is added to the manifest without its keys in `published` fails here.
"""

import functools
import math

import pytest
import torch

from models.adapters.instantid.checkpoint import split_instantid
from models.adapters.ip_adapter.checkpoint import split_ip_adapter
from models.adapters.ip_adapter.image_encoder import load_image_encoder
from models.adapters.lora import check_lora, read_lora
from models.adapters.lora_names import ModuleNames, sgm_names
from models.adapters.photomaker.checkpoint import build_encoder, split_checkpoint
from models.bundle.modules import Place, build_control_net, build_text_encoder, build_unet, build_vae, meta_unet
from models.faces.files import KNOWN
from models.weights.errors import WeightsError
from models.weights.manifest import read_manifest
from scripts.gpu.shapes import FULL
from tests.models.bundle import published

META = Place(torch.device("meta"), torch.bfloat16)
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
CLIP_BIG_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}

CLIP_H = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 1024,
}


@functools.cache
def bare_unet():
    """Read by many, changed by none."""
    return meta_unet(FULL.unet)


def unet_fits(state):
    build_unet(FULL.unet, state, META)


def vae_fits(state):
    build_vae(FULL.vae, state, META)


def first_text_encoder_fits(state):
    build_text_encoder(CLIP_L, state, META)


def second_text_encoder_fits(state):
    build_text_encoder(CLIP_BIG_G, state, META)


def lora_fits(state):
    unet = {"unet": bare_unet()}
    updates = read_lora(state, ModuleNames(unet))
    check_lora(unet, updates)


def photomaker_fits(state):
    checkpoint = split_checkpoint(state)
    build_encoder(checkpoint, META.device, META.dtype)
    lora_fits(checkpoint.lora)


def instantid_fits(state):
    split_instantid(state, bare_unet())


def ip_adapter_fits(state):
    split_ip_adapter(state, bare_unet())


def image_encoder_fits(state):
    load_image_encoder(CLIP_H, state, META.device, META.dtype)


def identity_net_fits(state):
    build_control_net(FULL.net, state, META)


FITS = {
    "RealVisXL_V5.0/unet/diffusion_pytorch_model.fp16.safetensors": (published.unet(), 2, unet_fits),
    "RealVisXL_V5.0/text_encoder/model.fp16.safetensors": (
        published.text_encoder(768, 12, projection=False),
        2,
        first_text_encoder_fits,
    ),
    "RealVisXL_V5.0/text_encoder_2/model.fp16.safetensors": (
        published.text_encoder(1280, 32, projection=True),
        2,
        second_text_encoder_fits,
    ),
    "sdxl-vae-fp16-fix/diffusion_pytorch_model.safetensors": (published.vae(), 4, vae_fits),
    "SDXL-Lightning/sdxl_lightning_4step_lora.safetensors": (published.kohya_lora(), 2, lora_fits),
    "PhotoMaker/photomaker-v1.bin": (published.photomaker("v1"), None, photomaker_fits),  # mixed precision
    "PhotoMaker-V2/photomaker-v2.bin": (published.photomaker("v2"), None, photomaker_fits),
    "IP-Adapter/sdxl_models/ip-adapter-plus-face_sdxl_vit-h.safetensors": (
        published.image_prompt(1280),
        2,
        ip_adapter_fits,
    ),
    "IP-Adapter/models/image_encoder/model.safetensors": (published.image_encoder(), 4, image_encoder_fits),
    "InstantID/ip-adapter.bin": (published.image_prompt(512), 4, instantid_fits),
    "InstantID/ControlNetModel/diffusion_pytorch_model.safetensors": (published.identity_net(), 2, identity_net_fits),
}
FILES = {file.path: file for file in read_manifest().files if file.remote is not None}
WITH_TENSORS = [path for path, file in FILES.items() if file.format in ("safetensors", "pickle")]
WITH_GRAPHS = [path for path, file in FILES.items() if file.format == "onnx"]


def meta_state(shapes):
    """Alphas of LoRAs are read as numbers, so they have one."""
    return {key: torch.empty(shape, device="meta") if shape else torch.tensor(64.0) for key, shape in shapes.items()}


@pytest.mark.parametrize("path", WITH_TENSORS)
def test_a_published_file_fits(path):
    shapes, _, fits = FITS[path]
    fits(meta_state(shapes))


@pytest.mark.parametrize("path", [path for path in WITH_TENSORS if FITS[path][1] is not None])
def test_the_published_keys_weigh_what_the_file_does(path):
    """Parameters in their precision, and a header of less than a thousandth; some sizes are published rounded."""
    shapes, bytes_each, _ = FITS[path]
    weight = bytes_each * sum(math.prod(shape) for shape in shapes.values())
    size = FILES[path].size
    assert weight == pytest.approx(size or FILES[path].about_bytes, rel=0.001 if size else 0.02)
    assert size is None or weight < size


@pytest.mark.parametrize(
    ("shapes", "tensors", "parameters"),
    [
        (published.unet(), 1680, 2_567_463_684),
        (published.photomaker("v1"), 407 + 1120, 326_273_024 + 92_897_280),
        (published.photomaker("v2"), 463 + 1120, 543_395_840 + 92_897_280),
        (published.identity_net(), 844, 1_251_014_160),
    ],
    ids=["unet", "photomaker-v1", "photomaker-v2", "identity-net"],
)
def test_the_published_keys_are_as_many_as_the_references_count(shapes, tensors, parameters):
    assert len(shapes) == tensors
    assert sum(math.prod(shape) for shape in shapes.values()) == parameters


@pytest.mark.parametrize("path", [path for path in WITH_GRAPHS if FILES[path].sha256])
def test_a_face_model_is_the_one_that_its_analyzer_asks_for(path):
    assert FILES[path].sha256 in {known.sha256 for known in KNOWN}


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_version_of_a_published_checkpoint_is_read_off_its_keys(version):
    checkpoint = split_checkpoint(meta_state(published.photomaker(version)))
    assert checkpoint.shape.version == version
    assert checkpoint.shape.tokens_per_picture == {"v1": 1, "v2": 2}[version]


def test_a_checkpoint_that_lacks_a_key_is_refused_by_its_name():
    state = meta_state(published.unet())
    del state["mid_block.attentions.0.transformer_blocks.9.attn2.to_k.weight"]
    with pytest.raises(WeightsError, match=r"it lacks 1 weights of a UNet2.*like .*blocks\.9\.attn2\.to_k\.weight"):
        unet_fits(state)


def test_text_encoders_load_with_the_position_ids_of_older_files():
    state = meta_state(published.text_encoder(768, 12, projection=False))
    first_text_encoder_fits(state | {"text_model.embeddings.position_ids": torch.zeros(1, 77)})


def test_the_vae_loads_with_todays_attention_names_too():
    vae_fits(meta_state(published.vae(("to_q", "to_k", "to_v", "to_out.0"))))


@pytest.mark.parametrize("spelling", ["diffusers", "stability"])
def test_a_lora_over_the_whole_unet_fits_in_kohya_names(spelling):
    """SDXL-Lightning, Hyper-SD and LCM: `lora_unet_<diffusers path>` on linears and convolutions, with alphas; style
    LoRAs from kohya's trainer: the same over Stability's block names."""
    sgm = {path: name for name, path in sgm_names(bare_unet())}
    state = {}
    for name, module in bare_unet().named_modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.dim() not in (2, 4):
            continue
        key = "lora_unet_" + (sgm[name] if spelling == "stability" else name).replace(".", "_")
        state[f"{key}.lora_down.weight"] = torch.empty(64, *weight.shape[1:], device="meta")
        ones = [1] * (weight.dim() - 2)
        state[f"{key}.lora_up.weight"] = torch.empty(weight.shape[0], 64, *ones, device="meta")
        state[f"{key}.alpha"] = torch.tensor(64.0)
    updates = read_lora(state, ModuleNames({"unet": bare_unet()}))
    assert len(updates) == len(state) // 3 > 700
    check_lora({"unet": bare_unet()}, updates)


@pytest.mark.parametrize(
    ("stability", "diffusers"),
    [
        (
            "input_blocks_4_1_transformer_blocks_1_attn2_to_k",
            "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
        ),
        ("input_blocks_8_1_proj_in", "down_blocks.2.attentions.1.proj_in"),
        ("input_blocks_6_0_op", "down_blocks.1.downsamplers.0.conv"),
        ("middle_block_1_transformer_blocks_9_ff_net_2", "mid_block.attentions.0.transformer_blocks.9.ff.net.2"),
        ("output_blocks_2_2_conv", "up_blocks.0.upsamplers.0.conv"),
        ("output_blocks_5_1_proj_out", "up_blocks.1.attentions.2.proj_out"),
        ("output_blocks_8_0_in_layers_2", "up_blocks.2.resnets.2.conv1"),
        ("output_blocks_6_0_skip_connection", "up_blocks.2.resnets.0.conv_shortcut"),
    ],
)
def test_stabilitys_block_numbers_are_those_of_sdxl(stability, diffusers):
    assert ModuleNames({"unet": bare_unet()}).find(f"lora_unet_{stability}.alpha") == (f"unet.{diffusers}", "alpha")
