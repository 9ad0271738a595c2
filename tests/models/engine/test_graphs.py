"""The pool of recordings, on a recorder that keeps a GPU's rules on the CPU."""

import pytest
import torch
from torch import nn

from models.engine.graphs import GraphPool, StaleRecording
from tests.models.engine.recorder import CpuRecorder


@pytest.fixture
def layer():
    torch.manual_seed(3)
    return nn.Linear(4, 2)


@pytest.fixture
def recorder():
    return CpuRecorder()


@pytest.fixture
def pool(layer, recorder):
    return GraphPool(lambda inputs: (layer(inputs["x"]) + inputs["y"],), [layer], recorder=recorder)


def inputs(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(rows, 4, generator=generator), "y": torch.randn(rows, 2, generator=generator)}


def expected(layer, given):
    return layer(given["x"]) + given["y"]


@torch.inference_mode()
def test_a_recorded_shape_is_played_with_new_numbers(layer, recorder, pool):
    pool.record(inputs(2))
    for seed in (1, 2):
        given = inputs(2, seed)
        assert torch.equal(pool(given)[0], expected(layer, given))
    assert [recording.replays for recording in recorder.made] == [2]


@torch.inference_mode()
def test_a_result_is_not_overwritten_by_the_next_call(layer, pool):
    pool.record(inputs(2))
    first = inputs(2, 1)
    kept = pool(first)[0]
    pool(inputs(2, 2))
    assert torch.equal(kept, expected(layer, first))


@torch.inference_mode()
def test_a_caller_s_tensor_is_no_part_of_a_recording(layer, pool):
    given = inputs(2)
    pool.record(given)
    given["x"].zero_()
    other = inputs(2, 1)
    assert torch.equal(pool(other)[0], expected(layer, other))


@torch.inference_mode()
def test_a_shape_that_was_not_recorded_runs_plainly(layer, recorder, pool):
    pool.record(inputs(2))
    given = inputs(3)
    assert torch.equal(pool(given)[0], expected(layer, given))
    assert recorder.made[0].replays == 0


@torch.inference_mode()
def test_every_shape_is_recorded_once(recorder, pool):
    for rows in (2, 1, 1, 2):
        pool.record(inputs(rows))
    assert len(recorder.made) == pool.num_recordings == 2


@torch.inference_mode()
def test_recordings_share_their_memory_when_the_longest_is_learned_first(layer, pool):
    pool.record(inputs(3))
    longest = pool.num_bytes
    assert longest == 4 * 3 * (4 + 2 + 2)
    for rows in (2, 1):
        pool.record(inputs(rows))
    assert pool.num_bytes == longest
    for rows in (1, 3, 2):
        given = inputs(rows, rows)
        assert torch.equal(pool(given)[0], expected(layer, given))


@torch.inference_mode()
def test_a_longer_recording_that_comes_later_leaves_the_shorter_ones_right(layer, recorder, pool):
    pool.record(inputs(1))
    pool.record(inputs(3))
    for rows in (1, 3):
        given = inputs(rows, rows)
        assert torch.equal(pool(given)[0], expected(layer, given))
    assert [recording.replays for recording in recorder.made] == [1, 1]
    pool.check_recordings()


@torch.inference_mode()
def test_fewer_rows_are_filled_up_to_the_next_recording_and_come_back_as_few(layer, recorder, pool):
    for rows in (4, 3):
        pool.record(inputs(rows))
    given = inputs(2, 5)
    assert torch.equal(pool(given)[0], expected(layer, given))
    assert [recording.replays for recording in recorder.made] == [0, 1]


def test_what_was_laid_out_channels_last_stays_so():
    seen = []
    pool = GraphPool(lambda inputs: (seen.append(inputs["x"].stride()) or inputs["x"] * 2,), [], recorder=CpuRecorder())
    image = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    pool.record({"x": image})
    (doubled,) = pool({"x": image[:1]})
    assert set(seen) == {image.stride()}
    assert doubled.is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_what_is_forgotten_is_nowhere_in_the_buffers_and_the_pool_plays_on(layer, pool):
    for rows in (1, 3):
        pool.record(inputs(rows))
        pool(inputs(rows, 1))
    pool.forget()
    assert pool.num_recordings == 2
    for recorded in pool.recorded:
        assert not any(tensor.any() for tensor in (*recorded.inputs.values(), *recorded.outputs))
    given = inputs(3, 2)
    assert torch.equal(pool(given)[0], expected(layer, given))


@torch.inference_mode()
def test_switched_off_nothing_is_played(layer, recorder, pool):
    pool.record(inputs(2))
    pool.is_on = False
    given = inputs(2, 1)
    assert torch.equal(pool(given)[0], expected(layer, given))
    assert recorder.made[0].replays == 0


@torch.inference_mode()
def test_overwritten_weights_are_seen_and_replaced_ones_are_refused(layer, pool):
    pool.record(inputs(2))
    layer.weight.mul_(2)  # as a LoRA is applied
    pool.check_recordings()
    given = inputs(2, 1)
    assert torch.equal(pool(given)[0], expected(layer, given))
    layer.weight = nn.Parameter(layer.weight.clone())
    with pytest.raises(StaleRecording, match="a weight was replaced"):
        pool.check_recordings()


@torch.inference_mode()
def test_a_lost_buffer_is_refused(pool):
    pool.record(inputs(2))
    [recorded] = pool.recorded
    recorded.inputs["x"] = recorded.inputs["x"].clone()
    with pytest.raises(StaleRecording, match="a buffer"):
        pool.check_recordings()
