"""The published LoRA key formats against diffusers' own loader and fusing, on a tiny UNet."""

import json

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from models.adapters.lora import LoraError, fuse_lora, read_lora
from models.weights.modules import EXACT, build_unet
from tests.models.conftest import GOLDEN, kohya_lora

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"


@pytest.fixture
def state():
    return load_file(GOLDEN / "unet.safetensors")


def make_unet(state):
    return build_unet(json.loads((GOLDEN / "configs.json").read_text())["unet"], state, EXACT)


def photomaker_lora():
    prefix = "lora_weights."
    file = load_file(GOLDEN / "photomaker_v1.safetensors")
    return {key.removeprefix(prefix): tensor for key, tensor in file.items() if key.startswith(prefix)}


def peft_lora(state):
    generator = torch.Generator().manual_seed(5)
    lora = {}
    for key, weight in state.items():
        if "attn" in key and key.endswith(".weight") and weight.dim() == 2 and "norm" not in key:
            stem = "unet." + key.removesuffix(".weight")
            lora[f"{stem}.lora_A.weight"] = torch.randn(3, weight.shape[1], generator=generator) * 0.1
            lora[f"{stem}.lora_B.weight"] = torch.randn(weight.shape[0], 3, generator=generator) * 0.1
    return lora


def old_diffusers_lora(state):
    renames = {"lora_A": "lora.down", "lora_B": "lora.up"}
    return {
        key.replace(old, new): t for key, t in peft_lora(state).items() for old, new in renames.items() if old in key
    }


def fused_by_diffusers(state, lora):
    """Diffusers' loader and PEFT's fusing; the oracle."""
    unet = make_unet({key: tensor.clone() for key, tensor in state.items()})  # it fuses in place
    pipeline = StableDiffusionXLPipeline(
        vae=None, text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None, unet=unet, scheduler=None
    )
    pipeline.load_lora_weights(dict(lora))
    pipeline.fuse_lora(components=["unet"])
    pipeline.unload_lora_weights()
    return pipeline.unet.state_dict()


@pytest.mark.filterwarnings("ignore")  # the oracle's own deprecations
@pytest.mark.parametrize(
    "make",
    [lambda _: photomaker_lora(), kohya_lora, peft_lora, old_diffusers_lora],
    ids=["photomaker", "kohya-lightning", "peft", "old-diffusers"],
)
def test_a_fused_lora_equals_diffusers(state, make):
    lora = make(state)
    expected = fused_by_diffusers(state, lora)
    unet = make_unet(state)
    fuse_lora(unet, read_lora(lora, dict(unet.named_modules())))
    result = unet.state_dict()
    assert result.keys() == expected.keys()
    changed = 0
    for key, weight in result.items():
        torch.testing.assert_close(weight, expected[key], rtol=1e-5, atol=1e-6, msg=key)
        changed += not torch.equal(weight, state[key])
    assert changed >= 10


def test_the_scale_multiplies_the_update(state):
    unet = make_unet(state)
    lora = photomaker_lora()
    fuse_lora(unet, read_lora(lora, dict(unet.named_modules())), scale=0.5)
    name = f"{ATTENTION}.to_q"
    stem = f"unet.{ATTENTION}.processor.to_q_lora"
    expected = state[f"{name}.weight"] + 0.5 * lora[f"{stem}.up.weight"] @ lora[f"{stem}.down.weight"]
    torch.testing.assert_close(unet.state_dict()[f"{name}.weight"], expected)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("lora_unet_input_blocks_4_1_proj_in.lora_down.weight", "a module that this UNet does not have"),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "no format that is known"),
        ("unet.nowhere.to_q.lora_A.weight", "a module that this UNet does not have"),
    ],
)
def test_a_key_that_fits_nothing_is_named(state, key, problem):
    unet = make_unet(state)
    with pytest.raises(LoraError, match=rf"{key}.*{problem}"):
        read_lora({key: torch.zeros(2, 2)}, dict(unet.named_modules()))


def test_half_a_lora_is_refused(state):
    unet = make_unet(state)
    half = {f"unet.{ATTENTION}.to_q.lora_A.weight": torch.zeros(2, 32)}
    with pytest.raises(LoraError, match="has down alone"):
        read_lora(half, dict(unet.named_modules()))


def test_a_lora_of_another_width_is_refused_with_both_shapes(state):
    unet = make_unet(state)
    lora = {f"unet.{ATTENTION}.to_q.lora_{part}.weight": torch.zeros(3, 3) for part in "AB"}
    with pytest.raises(LoraError, match=r"the LoRA is \[3, 3\], the weight \[32, 32\]"):
        fuse_lora(unet, read_lora(lora, dict(unet.named_modules())))
