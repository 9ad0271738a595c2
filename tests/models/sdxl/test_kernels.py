"""The choice of an attention kernel, with kernels and a clock of the test's own."""

import pytest
import torch

from models.sdxl.attention import attend
from models.sdxl.kernels import PLAIN, Kernel, Shape, _rows_first, choose_kernel, measure

CPU = torch.device("cpu")
SHAPES = (Shape(2, 2, 6, 6, width=8), Shape(3, 2, 6, 5, width=8))


def broken(query, key, value, mask):
    raise RuntimeError("not built for this device")


def wrong(query, key, value, mask):
    return attend(query, key, value, mask) * 1.1


def nan(query, key, value, mask):
    return attend(query, key, value, mask) * float("nan")


def test_a_kernel_s_time_is_that_of_all_layers_of_a_call():
    seconds = iter([1.0, 10.0, 0.5, 5.0])
    times = dict(measure([Kernel("other", attend)], SHAPES, lambda call: next(seconds), CPU, torch.float32))
    assert {kernel.name: total for kernel, total in times.items()} == {"torch's choice": 32.0, "other": 16.0}


@pytest.mark.parametrize("kernel", [broken, wrong, nan])
def test_a_kernel_that_fails_or_answers_otherwise_is_left_out(kernel):
    times = dict(measure([Kernel("odd", kernel)], SHAPES, lambda call: 1.0, CPU, torch.float32))
    assert list(times) == [PLAIN]


def test_a_kernel_that_wants_rows_first_gets_them_and_no_mask():
    seen = []

    def library(query, key, value):
        seen.append(query.shape)
        return attend(*(x.transpose(1, 2) for x in (query, key, value)), None).transpose(1, 2), None

    run = _rows_first(library)
    query, key, value = (torch.randn(2, 3, rows, 4) for rows in (6, 5, 5))
    assert torch.allclose(run(query, key, value, None), attend(query, key, value, None), atol=1e-6)
    mask = torch.zeros(2, 1, 1, 5)
    assert torch.equal(run(query, key, value, mask), attend(query, key, value, mask))
    assert seen == [(2, 6, 3, 4)]


def test_on_a_cpu_there_is_nothing_to_choose():
    assert choose_kernel(CPU, torch.float32) is PLAIN
