"""Style LoRAs on and off the weights of tiny modules."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.adapters.applied_lora import AppliedLora
from models.adapters.lora import LoraError, fuse_loras, read_lora
from models.adapters.lora_names import ModuleNames
from models.adapters.style_loras import StyleLoras
from models.bundle.modules import Place, build_text_encoder, build_unet
from models.sdxl.lora_choice import LoraChoice
from tests.models.conftest import GOLDEN, kohya_lora

CPU = torch.device("cpu")
BUILDERS = {"unet": build_unet, "text_encoder": build_text_encoder, "text_encoder_2": build_text_encoder}


def load_models(dtype=torch.bfloat16):
    """In half precision, where an update that is added and subtracted again would not cancel."""
    configs = json.loads((GOLDEN / "configs.json").read_text())
    place = Place(CPU, dtype)
    return {
        name: build(configs[name], load_file(GOLDEN / f"{name}.safetensors"), place) for name, build in BUILDERS.items()
    }


def bits(models):
    return {
        f"{name}.{key}": tensor.clone() for name, model in models.items() for key, tensor in model.state_dict().items()
    }


def equal_bits(left, right):
    return all(torch.equal(left[key], right[key]) for key in left)


def style_lora(seed, rank=2):
    """Over the UNet, and one layer of the first text encoder."""
    generator = torch.Generator().manual_seed(seed)
    state = kohya_lora(load_file(GOLDEN / "unet.safetensors"), rank)
    stem = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    state |= {f"{stem}.lora_down.weight": torch.ones(1, 24), f"{stem}.lora_up.weight": torch.ones(24, 1)}
    return {
        key: t if key.endswith("alpha") else torch.randn(t.shape, generator=generator) * 0.1 for key, t in state.items()
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    paths = {name: folder / f"{name}.safetensors" for name in ("film", "ink", "oil")}
    for seed, path in enumerate(paths.values()):
        save_file(style_lora(seed), path)
    return paths


@pytest.fixture
def models():
    return load_models()


@pytest.fixture
def applied(models, files):
    return AppliedLora(models, StyleLoras(files, models, CPU))


def test_an_applied_lora_equals_one_that_was_fused_at_load(models, applied, files):
    applied.apply(LoraChoice("film", 0.8))
    fused = load_models()
    fuse_loras(fused, [(read_lora(load_file(files["film"]), ModuleNames(fused)), 0.8)])
    assert equal_bits(bits(models), bits(fused))


def test_after_a_hundred_swaps_the_weights_are_the_loaded_bits(models, applied):
    before = bits(models)
    for swap in range(100):
        applied.apply([LoraChoice("film", 1.0), LoraChoice("ink", 0.3), LoraChoice("film", 0.7), None][swap % 4])
    applied.apply(None)
    assert equal_bits(bits(models), before)


def test_a_lora_looks_the_same_whatever_was_applied_before_it(models, applied):
    applied.apply(LoraChoice("ink", 0.5))
    alone = bits(models)
    applied.apply(LoraChoice("film", 1.0))
    assert not equal_bits(bits(models), alone)
    applied.apply(LoraChoice("ink", 0.5))
    assert equal_bits(bits(models), alone)


def test_weights_keep_their_place_in_memory_so_that_captured_graphs_stay_valid(models, applied):
    before = {key: tensor.data_ptr() for key, tensor in models["unet"].state_dict().items()}
    applied.apply(LoraChoice("film", 1.0))
    applied.apply(None)
    assert {key: tensor.data_ptr() for key, tensor in models["unet"].state_dict().items()} == before


def test_only_the_named_components_are_changed(models, files):
    loras = StyleLoras(files, models, CPU)
    before = bits(models)
    AppliedLora({"text_encoder": models["text_encoder"]}, loras).apply(LoraChoice("film", 1.0))
    changed = {key for key, tensor in bits(models).items() if not torch.equal(tensor, before[key])}
    assert len(changed) == 1
    assert changed.pop().startswith("text_encoder.")


def test_a_swap_that_fails_half_way_leaves_the_loaded_weights(models, files):
    class Torn(StyleLoras):
        def take(self, name):
            updates = super().take(name)
            last = next(reversed(updates))
            return updates | ({last: updates[next(iter(updates))]} if name == "ink" and self.is_torn else {})

    Torn.is_torn = False
    applied = AppliedLora(models, loras := Torn(files, models, CPU))
    before = bits(models)
    applied.apply(LoraChoice("film", 1.0))
    loras.is_torn = True
    with pytest.raises(RuntimeError):
        applied.apply(LoraChoice("ink", 1.0))
    applied.apply(None)
    assert equal_bits(bits(models), before)


def test_the_lately_used_are_kept_ready_and_the_rest_is_read_again(models, files):
    loras = StyleLoras(files, models, CPU, max_ready=2)
    film = loras.take("film")
    loras.take("ink")
    assert loras.take("film") is film
    loras.take("oil")  # ink goes, being the one not used for longest
    assert loras.take("film") is film
    loras.take("ink")
    loras.take("oil")
    again = loras.take("film")
    assert again is not film
    path = next(iter(film))
    assert torch.equal(again[path].delta(), film[path].delta())


def test_a_file_that_does_not_fit_is_refused_by_its_name(models, tmp_path):
    path = tmp_path / "wrong.safetensors"
    save_file(
        {
            "lora_unet_conv_in.lora_down.weight": torch.zeros(2, 9),
            "lora_unet_conv_in.lora_up.weight": torch.zeros(9, 2),
        },
        path,
    )
    with pytest.raises(LoraError, match=r"LoRA 'wrong' \(wrong\.safetensors\): unet\.conv_in: .*the weight"):
        StyleLoras({"wrong": path}, models, CPU)
