"""What a worker learns before its first caller, with a recorder that keeps a GPU's rules on the CPU."""

import pytest
import torch

from models.bundle import tuning
from models.bundle.bundle import load_bundle
from models.engine.graphs import GraphPool
from models.faces.analyzers import load_analyzer
from models.sdxl.speed import EAGER, Speed
from models.weights.manifest import PACKAGE, read_manifest
from models.worker import warmup
from models.worker.warmup import buckets_to_warm, warm_engine, warm_preparation
from tests.models.engine.recorder import CpuRecorder


@pytest.fixture
def recorder(monkeypatch):
    """Makes this machine's tuner record, as it would on CUDA."""
    recorder = CpuRecorder()
    recorder.pools = []

    def runner(call, modules):
        recorder.pools.append(GraphPool(call, modules, recorder=recorder))
        return recorder.pools[-1]

    monkeypatch.setattr(tuning.Tuner, "_runners", lambda self, whole: runner)
    return recorder


@pytest.fixture
def bundle(recorder):
    return load_bundle(read_manifest(), "tiny", speed=Speed())


def replays(recorder):
    return sum(recording.replays for recording in recorder.made)


def learn(bundle, buckets):
    analyzer = load_analyzer("bundled", bundled_dir=PACKAGE / "tiny", faces_dir=None, device="cpu", threads=1)
    conditionings = warm_preparation(bundle, analyzer)
    warm_engine(bundle, conditionings, buckets)
    return conditionings


def test_after_the_warm_up_every_bucket_and_kind_of_row_is_played_and_nothing_new_is_recorded(bundle, recorder):
    conditionings = learn(bundle, (1, 2))
    made, before = len(recorder.made), replays(recorder)
    for stack in {id(stack.denoiser): stack for stack in bundle.stacks.values()}.values():
        assert stack.denoiser.num_recordings >= 2
    [by_adapter] = conditionings.values()
    width, height = bundle.info.default_size
    side = bundle.decoder.factor
    calls = 0
    for name, stack in bundle.stacks.items():
        for rows in (1, 2):
            latents = torch.zeros(rows, bundle.decoder.latent_channels, height // side, width // side)
            stack.denoiser.predict(latents, torch.full((rows,), 500), [(by_adapter[name], 0)] * rows)
            calls += 1 + bool(by_adapter[name].controls)
    bundle.decoder.decode(latents[:1])
    assert len(recorder.made) == made
    assert replays(recorder) - before == calls + 1


@pytest.mark.parametrize(
    ("device", "speed", "warmed"),
    [
        ("cpu", EAGER, [1, 8]),
        ("cpu", Speed(), [1, 8]),  # there are no graphs on a CPU
        ("cpu", Speed(compile="blocks"), [1, 2, 4, 8]),
        ("cuda", EAGER, [1, 2, 4, 8]),
        ("cuda", Speed(), [1, 2, 4, 8]),
    ],
)
def test_every_bucket_is_warmed_wherever_one_learns_something_of_its_own(device, speed, warmed):
    assert buckets_to_warm((1, 2, 4, 8), torch.device(device), speed) == warmed


def test_a_single_bucket_is_warmed_once():
    assert buckets_to_warm((1,), torch.device("cpu"), EAGER) == [1]


def test_further_sizes_are_learned_until_memory_runs_low(bundle, recorder, monkeypatch, caplog):
    width, height = bundle.info.default_size
    smaller = [(width // 2, height // 2), (width // 2, height)]
    monkeypatch.setattr(warmup, "sizes_to_warm", lambda bundle: [bundle.info.default_size, *smaller])
    free = iter([warmup.ROOM_BYTES, warmup.ROOM_BYTES - 1])
    monkeypatch.setattr(warmup, "_free_bytes", lambda device: next(free))
    learn(bundle, (1,))
    told = [record.getMessage() for record in caplog.records if "no memory to learn" in record.getMessage()]
    assert [message.split()[6] for message in told] == [f"{smaller[1][0]}x{smaller[1][1]}"]


def test_when_no_job_is_left_recorded_calls_hold_nothing_of_them(bundle, recorder):
    learn(bundle, (1,))
    assert any(holds_numbers(pool) for pool in recorder.pools)
    bundle.forget()
    assert not any(holds_numbers(pool) for pool in recorder.pools)


def holds_numbers(pool):
    return any(tensor.any() for call in pool.recorded for tensor in (*call.inputs.values(), *call.outputs))
