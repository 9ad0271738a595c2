"""NaN and infinity in weights are found, whatever their type and place."""

import math

import pytest
import torch

from models.engine.finite import first_not_finite


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_first_tensor_with_a_number_that_is_none_is_named(dtype, value):
    tensors = {name: torch.randn(4, 5).to(dtype) for name in "abc"}
    tensors["b"][3, 4] = value
    assert first_not_finite(tensors) == "b"


def test_a_nan_in_8_bits_is_found():
    assert first_not_finite({"a": torch.tensor([1.0, math.nan]).to(torch.float8_e4m3fn)}) == "a"


def test_numbers_are_numbers():
    tensors = {
        "largest": torch.tensor([torch.finfo(torch.float64).max], dtype=torch.float64),
        "half": torch.tensor([torch.finfo(torch.float16).max], dtype=torch.float16),
        "ids": torch.arange(3),
        "empty": torch.zeros(0),
        "one": torch.tensor(1.0),
    }
    assert first_not_finite(tensors) is None
    assert first_not_finite({}) is None
