"""LoRA files: scalings in their metadata against diffusers' own loader, spellings of keys, and bad files."""

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file

from models.adapters.lora import LoraError, fuse_loras
from models.adapters.lora_file import NOTE, read_lora_file
from models.adapters.lora_names import ModuleNames
from tests.models.adapters.test_lora import assert_same, load_models, weights

FILES = Path(__file__).with_name("lora_files")
BLOCK = "down_blocks.1.attentions.0.transformer_blocks.0"
QUERY, KEY, TEXT = f"unet.{BLOCK}.attn1.to_q", f"unet.{BLOCK}.attn1.to_k", "text_encoder.text_model.encoder.layers.0"


@pytest.fixture(scope="module")
def models():
    return load_models()


@pytest.fixture(scope="module")
def names(models):
    return ModuleNames(models)


def lora_of(models, ranks):
    """A random LoRA in diffusers' spelling; `ranks` by module."""
    generator, state = torch.Generator().manual_seed(2), {}
    for module, rank in ranks.items():
        component, _, path = module.partition(".")
        held = dict(models[component].named_modules())
        out, width = (held.get(path) or held[path.removeprefix("text_model.")]).weight.shape
        state[f"{module}.lora_A.weight"] = torch.randn(rank, width, generator=generator) * 0.1
        state[f"{module}.lora_B.weight"] = torch.randn(out, rank, generator=generator) * 0.1
    return state


def saved(tmp_path, state, note=None, **others):
    path = tmp_path / "lora.safetensors"
    told = others if note is None else {NOTE: json.dumps(note), "format": "pt"} | others
    save_file(state, path, metadata=told or None)
    return path


def fused_by_diffusers(path):
    models = load_models()
    pipeline = StableDiffusionXLPipeline(vae=None, tokenizer=None, tokenizer_2=None, scheduler=None, **models)
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    pipeline.fuse_lora(components=["unet", "text_encoder", "text_encoder_2"])
    pipeline.unload_lora_weights()
    return weights(models)


def fused_by_us(path, names):
    models = load_models()
    fuse_loras(models, [(read_lora_file(path, names), 1.0)])
    return weights(models)


def note_of(component="unet", **config):
    return {f"{component}.{key}": value for key, value in ({"target_modules": ["to_q", "to_k"]} | config).items()}


@pytest.mark.filterwarnings("ignore")  # the oracle's own deprecations
@pytest.mark.parametrize(
    ("ranks", "note"),
    [
        ({QUERY: 8, KEY: 8}, note_of(r=8, lora_alpha=16)),
        ({QUERY: 8, KEY: 8}, note_of(r=8, lora_alpha=2)),
        ({QUERY: 8, KEY: 8}, note_of()),
        ({QUERY: 4, KEY: 4}, note_of(r=4, lora_alpha=4, use_rslora=True)),
        ({QUERY: 4, KEY: 4}, note_of(r=4, lora_alpha=8, alpha_pattern={f"{BLOCK}.attn1.to_k": 2})),
        ({QUERY: 4, KEY: 2}, note_of(r=4, lora_alpha=8, rank_pattern={f"{BLOCK}.attn1.to_k": 2})),
        ({QUERY: 4, KEY: 2}, note_of(r=4, lora_alpha=8, rank_pattern={"to_k": 2}, alpha_pattern={"^.*to_k": 6})),
        (
            {QUERY: 4, f"{TEXT}.self_attn.q_proj": 2},
            note_of(r=4, lora_alpha=8) | note_of("text_encoder", r=2, lora_alpha=1, target_modules=["q_proj"]),
        ),
    ],
    ids=["twice", "quarter", "defaults", "rslora", "alpha", "rank", "patterns", "text"],
)
def test_a_scaling_in_the_metadata_is_applied_as_diffusers_does(tmp_path, models, names, ranks, note):
    path = saved(tmp_path, lora_of(models, ranks), note)
    assert_same(fused_by_us(path, names), fused_by_diffusers(path))


def test_the_case_of_a_caller_comes_out_four_times_as_strong(names):
    [update] = read_lora_file(FILES / "alpha-in-metadata.safetensors", names).values()
    assert update.alpha / update.down.shape[0] == 4.0


def test_a_note_without_a_component_is_the_unet_s(tmp_path, models, names):
    path = saved(tmp_path, lora_of(models, {QUERY: 4}), {"r": 4, "lora_alpha": 2, "use_rslora": True})
    [update] = read_lora_file(path, names).values()
    assert update.alpha / 4 == pytest.approx(2 / math.sqrt(4))


def test_trainers_notes_of_other_kinds_change_nothing(tmp_path, models, names):
    path = saved(tmp_path, lora_of(models, {QUERY: 4}), ss_network_alpha="1", ss_network_dim="4")
    [update] = read_lora_file(path, names).values()
    assert update.alpha is None


@pytest.mark.parametrize(
    ("note", "problem"),
    [
        (note_of(r=8, lora_alpha=8), r"to_q: the file's metadata says rank 8, and its tensors have rank 4"),
        (note_of(r=4, lora_alpha=8, use_dora=True), "says that it is a DoRA"),
        (note_of(r=4, lora_alpha="much"), "can't be read"),
        (note_of(r=4, lora_alpha=float("inf")), "alpha in the file's metadata holds a number that is not finite"),
        (note_of(r=4, lora_alpha=4, alpha_pattern={"(": 1}), "for a pattern, which is none"),
        ([1, 2], "can't be read"),
    ],
)
def test_a_note_that_can_t_be_followed_is_refused(tmp_path, models, names, note, problem):
    with pytest.raises(LoraError, match=problem):
        read_lora_file(saved(tmp_path, lora_of(models, {QUERY: 4}), note), names)


def test_an_alpha_in_two_places_is_refused(tmp_path, models, names):
    state = lora_of(models, {QUERY: 4}) | {f"{QUERY}.alpha": torch.tensor(4.0)}
    with pytest.raises(LoraError, match="states an alpha twice"):
        read_lora_file(saved(tmp_path, state, note_of(r=4, lora_alpha=8)), names)


STABILITY = "input_blocks.4.1.transformer_blocks.0.attn1.to_q"  # the caller's name of QUERY


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (f"{QUERY}.lora_A.default.weight", f"{QUERY}.lora_B.default.weight"),
        (f"{QUERY}.lora_A.default_0.weight", f"{QUERY}.lora_B.default_0.weight"),
        (f"base_model.model.{QUERY}.lora_A.default.weight", f"base_model.model.{QUERY}.lora_B.default.weight"),
        (f"base_model.model.{QUERY[5:]}.lora_A.weight", f"base_model.model.{QUERY[5:]}.lora_B.weight"),
        (f"diffusion_model.{STABILITY}.lora_A.weight", f"diffusion_model.{STABILITY}.lora_B.weight"),
        (f"diffusion_model.{STABILITY}.lora_down.weight", f"diffusion_model.{STABILITY}.lora_up.weight"),
        (f"model.diffusion_model.{STABILITY}.lora.down.weight", f"model.diffusion_model.{STABILITY}.lora.up.weight"),
        (f"diffusion_model.{QUERY[5:]}.lora_A.weight", f"diffusion_model.{QUERY[5:]}.lora_B.weight"),
    ],
)
def test_a_module_is_found_under_every_spelling_of_its_key(tmp_path, models, names, down, up):
    halves = list(lora_of(models, {QUERY: 4}).values())
    updates = read_lora_file(saved(tmp_path, {down: halves[0], up: halves[1]}), names)
    assert list(updates) == [QUERY]
    assert torch.equal(updates[QUERY].down, halves[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_number_that_is_none_is_refused_by_its_name(tmp_path, models, names, value, dtype):
    state = {name: tensor.to(dtype) for name, tensor in lora_of(models, {QUERY: 4, KEY: 4}).items()}
    state[f"{KEY}.lora_B.weight"][3, 1] = value
    with pytest.raises(LoraError, match=rf"{KEY}.lora_B.weight holds a number that is not finite"):
        read_lora_file(saved(tmp_path, state), names)


def test_the_file_of_a_caller_with_a_nan_is_refused(names):
    with pytest.raises(LoraError, match="not finite"):
        read_lora_file(FILES / "nan.safetensors", names)


@pytest.mark.parametrize("size", [0, 7, 200])
def test_an_empty_file_and_half_a_file_are_refused(tmp_path, models, names, size):
    path = saved(tmp_path, lora_of(models, {QUERY: 4}))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(LoraError, match="no safetensors file, or half of one"):
        read_lora_file(path, names)


def test_a_file_without_tensors_is_refused(tmp_path, names):
    with pytest.raises(LoraError, match="holds no tensors"):
        read_lora_file(saved(tmp_path, {}), names)
