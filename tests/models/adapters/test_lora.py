"""The published LoRA key formats against diffusers' own loader and fusing, on tiny modules."""

import json

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from models.adapters.lora import LoraError, fuse_loras, read_lora
from models.adapters.lora_names import ModuleNames, sgm_names
from models.bundle.modules import EXACT, build_text_encoder, build_unet
from tests.models.conftest import GOLDEN, kohya_lora

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
CONFIGS = json.loads((GOLDEN / "configs.json").read_text())


def load(component):
    state = {key: tensor.clone() for key, tensor in load_file(GOLDEN / f"{component}.safetensors").items()}
    build = build_unet if component == "unet" else build_text_encoder
    return build(CONFIGS[component], state, EXACT)


def load_models():
    return {component: load(component) for component in ("unet", "text_encoder", "text_encoder_2")}


@pytest.fixture(scope="module")
def plain():
    """The untouched weights of every component, by path."""
    return weights(load_models())


@pytest.fixture(scope="module")
def names():
    return ModuleNames(load_models())


def weights(models):
    return {f"{name}.{key}": tensor for name, model in models.items() for key, tensor in model.state_dict().items()}


def random_pair(weight, rank, generator):
    """down and up of one module; LoCon's shapes for a convolution."""
    out, *rest = weight.shape
    down = torch.randn(rank, *rest, generator=generator) * 0.1
    return down, torch.randn(out, rank, *[1] * (len(rest) - 1), generator=generator) * 0.1


def matrices(plain, component):
    """The paths and weights that LoRA trainers touch: every linear and convolution."""
    for key, weight in plain.items():
        if key.startswith(f"{component}.") and key.endswith(".weight") and weight.dim() in (2, 4):
            path = key.removeprefix(f"{component}.").removesuffix(".weight")
            if "embedding" not in path or component == "unet":
                yield path, weight


def photomaker_lora(_):
    prefix = "lora_weights."
    file = load_file(GOLDEN / "photomaker_v1.safetensors")
    return {key.removeprefix(prefix): tensor for key, tensor in file.items() if key.startswith(prefix)}


def lightning_lora(plain):
    """SDXL-Lightning and LCM: kohya with diffusers names and alphas."""
    return kohya_lora({key.removeprefix("unet."): tensor for key, tensor in plain.items() if key.startswith("unet.")})


def peft_lora(plain, seed=5):
    """TCD and everything that diffusers saves today."""
    generator, lora = torch.Generator().manual_seed(seed), {}
    for component in ("unet", "text_encoder", "text_encoder_2"):
        for path, weight in matrices(plain, component):
            if not any(word in path for word in ("attn", "conv1", "proj_in")):
                continue
            stem = f"{component}.{published(component, path)}"
            lora[f"{stem}.lora_A.weight"], lora[f"{stem}.lora_B.weight"] = random_pair(weight, 3, generator)
    return lora


def old_diffusers_lora(plain):
    renames = {"lora_A": "lora.down", "lora_B": "lora.up"}
    return {
        key.replace(old, new): tensor
        for key, tensor in peft_lora(plain).items()
        for old, new in renames.items()
        if old in key and key.startswith("unet.")
    }


def old_text_lora(plain):
    renames = {"lora_A": "lora_linear_layer.down", "lora_B": "lora_linear_layer.up"}
    return {
        key.replace(old, new): tensor
        for key, tensor in peft_lora(plain).items()
        for old, new in renames.items()
        if old in key and key.startswith("text_encoder.")
    } | old_diffusers_lora(plain)


def kohya_sgm_lora(plain):
    """What kohya's trainer writes for SDXL: Stability's block names, convolutions, both text encoders, alphas."""
    generator, lora = torch.Generator().manual_seed(7), {}
    sgm = {path: name for name, path in sgm_names(load("unet"))}
    spelled = [("lora_unet_" + sgm[path], weight) for path, weight in matrices(plain, "unet")]
    for stem, component in (("lora_te1_", "text_encoder"), ("lora_te2_", "text_encoder_2")):
        spelled += [(stem + published(component, p), w) for p, w in matrices(plain, component) if "projection" not in p]
    for name, weight in spelled:
        stem = name.replace(".", "_")
        lora[f"{stem}.lora_down.weight"], lora[f"{stem}.lora_up.weight"] = random_pair(weight, 2, generator)
        lora[f"{stem}.alpha"] = torch.tensor(1.0)
    return lora


def published(component, path):
    """CLIP's paths as every published file has them."""
    return path if component == "unet" or path.startswith("text_model.") else f"text_model.{path}"


def fused_by_diffusers(loras):
    """Diffusers' loader and PEFT's fusing, in the order given; the oracle."""
    models = load_models()
    pipeline = StableDiffusionXLPipeline(vae=None, tokenizer=None, tokenizer_2=None, scheduler=None, **models)
    for index, (lora, _) in enumerate(loras):
        pipeline.load_lora_weights(dict(lora), adapter_name=f"lora{index}")
    names = [f"lora{index}" for index in range(len(loras))]
    pipeline.set_adapters(names, [scale for _, scale in loras])
    pipeline.fuse_lora(components=["unet", "text_encoder", "text_encoder_2"], adapter_names=names)
    pipeline.unload_lora_weights()
    return weights(models)


def fused_by_us(loras, names):
    models = load_models()
    fuse_loras(models, [(read_lora(lora, names), scale) for lora, scale in loras])
    return weights(models)


def assert_same(result, expected):
    assert result.keys() == expected.keys()
    for key, weight in result.items():
        torch.testing.assert_close(weight, expected[key], rtol=1e-5, atol=1e-6, msg=key)


@pytest.mark.filterwarnings("ignore")  # the oracle's own deprecations
@pytest.mark.parametrize(
    ("make", "at_least"),
    [
        (photomaker_lora, 10),
        (lightning_lora, 10),
        (peft_lora, 20),
        (old_diffusers_lora, 10),
        (old_text_lora, 10),
        (kohya_sgm_lora, 100),
    ],
)
def test_a_fused_lora_equals_diffusers(plain, names, make, at_least):
    lora = make(plain)
    result = fused_by_us([(lora, 1.0)], names)
    assert_same(result, fused_by_diffusers([(lora, 1.0)]))
    assert sum(not torch.equal(weight, plain[key]) for key, weight in result.items()) >= at_least


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_several_loras_add_up_at_their_scales_in_any_order_as_in_diffusers(plain, names, order):
    """PhotoMaker's own, a distillation and a style: the stack that a bundle fuses."""
    loras = [(photomaker_lora(plain), 1.0), (lightning_lora(plain), 0.7), (peft_lora(plain), -0.4)]
    ordered = [loras[place] for place in order]
    assert_same(fused_by_us(ordered, names), fused_by_diffusers(ordered))


def test_an_alpha_beside_peft_names_is_kept(names):
    """Some trainers write one; diffusers' loader refuses the file."""
    stem = f"unet.{ATTENTION}.to_q"
    lora = {f"{stem}.lora_A.weight": torch.ones(4, 32), f"{stem}.lora_B.weight": torch.ones(32, 4)}
    halved = lora | {f"{stem}.alpha": torch.tensor(2.0)}
    assert torch.equal(2 * read_lora(halved, names)[stem].delta(), read_lora(lora, names)[stem].delta())


def test_every_convolution_and_linear_of_the_unet_has_a_stability_name():
    unet = load("unet")
    named = {path for _, path in sgm_names(unet)}
    matrices = {path for path, module in unet.named_modules() if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d))}
    assert matrices <= named


def test_half_precision_weights_are_rounded_once(names):
    unet = load("unet").to(torch.bfloat16)
    path = f"{ATTENTION}.to_q"
    exact = unet.get_submodule(path).weight.float()
    tiny = {
        f"unet.{path}.lora_A.weight": torch.full((1, exact.shape[1]), 1e-3),
        f"unet.{path}.lora_B.weight": torch.ones(exact.shape[0], 1),
    }
    fuse_loras({"unet": unet}, [(read_lora(tiny, names), 1.0)] * 8)  # each alone would be rounded away from most
    expected = (exact + 8e-3).to(torch.bfloat16)
    assert torch.equal(unet.get_submodule(path).weight, expected)


def test_fusing_leaves_the_tensors_that_the_model_was_built_from_alone(plain, names):
    state = load_file(GOLDEN / "unet.safetensors")
    before = {key: tensor.clone() for key, tensor in state.items()}
    unet = build_unet(CONFIGS["unet"], state, EXACT)
    fuse_loras({"unet": unet}, [(read_lora(photomaker_lora(plain), names), 1.0)])
    assert all(torch.equal(state[key], before[key]) for key in state)


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("lora_unet_input_blocks_9_9_proj_in.lora_down.weight", "a module that this model does not have"),
        ("lora_te3_text_model_encoder_layers_0_mlp_fc1.lora_down.weight", "no format that is known"),
        ("unet.nowhere.to_q.lora_A.weight", "a module that this model does not have"),
        (f"unet.{ATTENTION}.to_q.lora_magnitude_vector", "is of a DoRA; only plain LoRA"),
        ("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", "is of a LoHa; only plain LoRA"),
        ("lora_unet_mid_block_resnets_0_conv1.lora_mid.weight", "a core tensor; only plain LoRA"),
    ],
)
def test_a_key_that_fits_nothing_is_named(names, key, problem):
    with pytest.raises(LoraError, match=rf"{key}.*{problem}"):
        read_lora({key: torch.zeros(2, 2)}, names)


def test_half_a_lora_is_refused(names):
    half = {f"unet.{ATTENTION}.to_q.lora_A.weight": torch.zeros(2, 32)}
    with pytest.raises(LoraError, match="has down alone"):
        read_lora(half, names)


def test_a_module_under_two_names_is_refused(names):
    flat = f"lora_unet_{ATTENTION.replace('.', '_')}_to_q.lora_down.weight"
    twice = {f"unet.{ATTENTION}.to_q.lora_A.weight": torch.zeros(2, 32), flat: torch.zeros(2, 32)}
    with pytest.raises(LoraError, match=r"attn1\.to_q: the file holds its down twice"):
        read_lora(twice, names)


def test_a_lora_for_a_text_encoder_is_refused_where_only_the_unet_can_take_it():
    key = "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"
    with pytest.raises(LoraError, match="a module that this model does not have"):
        read_lora({key: torch.zeros(2, 2)}, ModuleNames({"unet": load("unet")}))


def test_a_lora_of_another_width_is_refused_with_both_shapes(names):
    lora = {f"unet.{ATTENTION}.to_q.lora_{part}.weight": torch.zeros(3, 3) for part in "AB"}
    with pytest.raises(LoraError, match=r"the LoRA is \[3, 3\].*the weight \[32, 32\]"):
        fuse_loras({"unet": load("unet")}, [(read_lora(lora, names), 1.0)])
