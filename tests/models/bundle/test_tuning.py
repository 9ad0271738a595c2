"""Who makes the networks' calls, by device and settings."""

import msgspec
import pytest
import torch
from torch import nn

from models.bundle import tuning
from models.bundle.loader import Loader
from models.bundle.modules import EXACT
from models.bundle.tuning import Tuner
from models.engine.graphs import GraphPool
from models.engine.runners import EagerRunner
from models.sdxl.speed import EAGER, Speed
from models.weights.errors import WeightsError
from models.weights.manifest import PACKAGE, StyleLora, read_manifest

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture
def recorders(monkeypatch):
    """Made for a GPU that is not there."""
    made = []
    monkeypatch.setattr(tuning, "CudaRecorder", lambda device: made.append(device) or f"recorder {len(made)}")
    monkeypatch.setattr(tuning, "choose_kernel", lambda device, dtype: tuning.PLAIN)
    return made


def double(inputs):
    return (inputs["x"] * 2,)


def test_a_cpu_records_nothing_whatever_is_asked_for(recorders):
    tuner = Tuner(Speed(), CPU, torch.float32)
    assert isinstance(tuner.steps(double, []), EagerRunner)
    assert recorders == []


def test_on_a_gpu_steps_share_a_recorder_and_each_decoder_has_its_own(recorders):
    tuner = Tuner(Speed(), CUDA, torch.bfloat16)
    runners = [
        tuner.steps(double, []),
        tuner.steps(double, []),
        tuner.new_decoder()(double, []),
        tuner.new_decoder()(double, []),
    ]
    assert all(isinstance(runner, GraphPool) for runner in runners)
    assert [runner.recorder for runner in runners] == ["recorder 1", "recorder 1", "recorder 2", "recorder 3"]


def test_recordings_can_be_switched_off(recorders):
    assert isinstance(Tuner(Speed(graphs=False), CUDA, torch.bfloat16).steps(double, []), EagerRunner)
    assert isinstance(Tuner(EAGER, CUDA, torch.bfloat16).new_decoder()(double, []), EagerRunner)
    assert recorders == []


@pytest.mark.parametrize(
    ("how", "steps", "decoder"), [("off", False, False), ("blocks", False, True), ("full", True, True)]
)
def test_what_is_compiled_as_a_whole(monkeypatch, how, steps, decoder):
    whole = []
    monkeypatch.setattr(tuning, "compiled", lambda call: whole.append(call) or call)
    tuner = Tuner(Speed(compile=how), CPU, torch.float32)
    tuner.steps(double, [])
    assert bool(whole) is steps
    whole.clear()
    tuner.new_decoder()(double, [])
    assert bool(whole) is decoder


def test_a_network_is_quickened_as_the_speed_says(monkeypatch):
    done = []
    monkeypatch.setattr(tuning, "use_fp8", lambda net: done.append("fp8") or [])
    monkeypatch.setattr(tuning, "compile_blocks", lambda net: done.append("blocks"))
    for speed in (
        EAGER,
        Speed(fp8=True),
        Speed(compile="blocks"),
        Speed(compile="full"),
        Speed(fp8=True, compile="blocks"),
    ):
        Tuner(speed, CPU, torch.float32).optimise(nn.Module())
        done.append("|")
    assert "".join(done) == "|fp8|blocks||fp8blocks|"  # 8 bits first: a program is made of what will run


def test_style_loras_and_8_bits_are_refused_together():
    spec = msgspec.structs.replace(
        read_manifest().bundle("tiny"), style_loras=[StyleLora(name="film", path="film.safetensors")]
    )
    with pytest.raises(WeightsError, match=r"style LoRAs can't be applied to fp8.*'film'"):
        Loader(spec, PACKAGE, [], EXACT, Tuner(Speed(fp8=True), CPU, torch.float32))
