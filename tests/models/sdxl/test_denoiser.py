"""The denoiser's own: what it makes once for a prompt, and that a recorded call is the call."""

import copy
import gc
from dataclasses import replace
from functools import partial

import pytest
import torch

from models.engine.graphs import GraphPool
from models.sdxl.attention import DecoupledAttention, attention_layers, cross_attention_slots, install_attention
from models.sdxl.conditioning import Prompt
from models.sdxl.contexts import Contexts
from models.sdxl.denoiser import Denoiser
from models.sdxl.lora_choice import LoraChoice
from scripts.golden.instantid import InstantIDFolder
from tests.models.conftest import GOLDEN_INSTANTID
from tests.models.engine.recorder import CpuRecorder
from tests.models.sdxl.rows import call, conditioning_of, mates


@pytest.fixture(scope="module")
def parts():
    """InstantID's adapter and its denoiser, on small random weights."""
    folder = InstantIDFolder(GOLDEN_INSTANTID)
    return folder, *folder.parts[:2]


@pytest.fixture(scope="module")
def conditioning(parts):
    folder, adapter, _ = parts
    return conditioning_of(folder, adapter)


def unet_of(denoiser):
    return denoiser.modules()[0]


def recorded(denoiser, recorder):
    nets = denoiser.nets
    return Denoiser(unet_of(denoiser), nets=nets, make_runner=partial(GraphPool, recorder=recorder))


@pytest.mark.parametrize("guidance", [None, 3.0])
def test_a_recorded_call_gives_the_bits_of_a_plain_one(parts, conditioning, guidance):
    recorder = CpuRecorder()
    plain, runner = parts[2], recorded(parts[2], recorder)
    with runner.recording():
        call(runner, mates(conditioning), guidance)
    for seed in (2, 3):
        assert torch.equal(
            call(runner, mates(conditioning), guidance, seed), call(plain, mates(conditioning), guidance, seed)
        )
    assert [recording.replays for recording in recorder.made] == [3]  # the first one as well: a recorded call is played


def test_callers_do_not_record(parts, conditioning):
    recorder = CpuRecorder()
    call(recorded(parts[2], recorder), [conditioning])
    assert not recorder.made


def test_a_recording_of_rows_without_a_person_is_not_played_for_rows_with_one(parts, conditioning):
    recorder = CpuRecorder()
    plain, runner = parts[2], recorded(parts[2], recorder)
    alone = [replace(conditioning, image=None, controls=())]
    with runner.recording():
        call(runner, alone)
    assert torch.equal(call(runner, [conditioning]), call(plain, [conditioning]))
    assert torch.equal(call(runner, alone), call(plain, alone))
    assert recorder.made[0].replays == 2


def test_a_prompt_is_projected_once_however_many_steps_and_rows_read_it(parts, conditioning):
    denoiser = recorded(parts[2], CpuRecorder())
    _, layer, _ = next(cross_attention_slots(unet_of(denoiser)))
    seen = []
    hook = layer.to_k.register_forward_hook(lambda _module, given, _out: seen.append(given[0].shape[0]))
    for seed in range(4):
        call(denoiser, [conditioning, conditioning], seed=seed)
    hook.remove()
    assert seen == [77]


def test_what_was_made_of_a_prompt_goes_with_it(parts):
    contexts = Contexts(unet_of(parts[2]))
    prompt = Prompt(torch.zeros(77, 64), torch.zeros(8))
    contexts.stack([prompt, prompt], None)
    assert len(contexts) == 1
    del prompt
    gc.collect()
    assert len(contexts) == 0


def test_the_oldest_prompts_make_room(parts):
    contexts = Contexts(unet_of(parts[2]), capacity=2)
    prompts = [Prompt(torch.full((77, 64), float(i)), torch.zeros(8)) for i in range(3)]
    first = contexts.stack(prompts[:1], None)
    contexts.stack(prompts[1:], None)
    assert len(contexts) == 2
    assert torch.equal(contexts.stack(prompts[:1], None), first)


def test_a_prompt_is_projected_again_for_another_lora(parts):
    unet = unet_of(parts[2])
    _, layer, slot = next(cross_attention_slots(unet))
    contexts, prompt = Contexts(unet), Prompt(torch.ones(77, 64), torch.zeros(8))
    before = contexts.stack([prompt], None)
    kept = layer.to_k.weight.clone()
    with torch.no_grad():
        layer.to_k.weight.mul_(2)  # as an applied LoRA does
    changed = contexts.stack([prompt], LoraChoice("film", 1.0))
    with torch.no_grad():
        layer.to_k.weight.copy_(kept)
    assert torch.allclose(changed[..., 0, slot], 2 * before[..., 0, slot])
    assert torch.equal(contexts.stack([prompt], None), before)


@torch.inference_mode()
def test_a_fused_self_attention_is_what_it_was_and_follows_its_weights(parts):
    unet = copy.deepcopy(unet_of(parts[2]))
    install_attention(unet)
    layer = next(module for _, module in attention_layers(unet) if not module.is_cross_attention)
    x = torch.randn(2, 6, layer.to_q.in_features, generator=torch.Generator().manual_seed(5))
    for change in (1.0, 3.0):
        layer.to_k.weight.mul_(change)  # as an applied LoRA does
        fused = layer(x)
        assert torch.allclose(fused, DecoupledAttention(is_cross=False)(layer, x), atol=1e-6)
    assert layer.to_q.weight.untyped_storage().data_ptr() == layer.to_v.weight.untyped_storage().data_ptr()
