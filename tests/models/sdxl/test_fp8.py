"""Products in 8 bits, computed here by the CPU with the same arithmetic as on a GPU."""

import pytest
import torch
from torch import nn

from models.bundle.modules import EXACT, meta_unet
from models.sdxl.attention import attention_layers, install_attention
from models.sdxl.fp8 import LARGE, STORED, Fp8Linear, quantise, use_fp8
from scripts.golden.instantid import InstantIDFolder
from scripts.gpu.shapes import FULL
from tests.models.conftest import GOLDEN_INSTANTID
from tests.models.sdxl.rows import call, conditioning_of


def apart(near, exact):
    return float((near - exact).norm() / exact.norm())


def test_every_row_has_its_own_scale_and_a_row_of_zeros_stays_one():
    rows = torch.tensor([[1.0, -2.0, 0.5], [1000.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    stored, scale = quantise(rows)
    assert stored.dtype == STORED
    assert torch.allclose(stored.float() * scale, rows, rtol=0.07)
    assert torch.equal(stored[2].float(), torch.zeros(3))


@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_near_the_exact_one(bias):
    torch.manual_seed(1)
    exact = nn.Linear(64, 48, bias=bias).requires_grad_(False)
    x = torch.randn(2, 5, 64)
    x[:, 3] *= 100  # an outlier row spoils no other
    near = Fp8Linear(exact.weight, exact.bias)(x)
    assert near.shape == (2, 5, 48)
    for token in range(5):
        assert apart(near[:, token], exact(x[:, token])) < 0.05


def test_the_large_products_of_sdxl_are_most_of_its_linear_work():
    unet = meta_unet(FULL.unet)
    install_attention(unet)
    replaced = use_fp8(unet)
    feed_forward = [name for name in replaced if "ff" in name]
    assert len(feed_forward) == 10 + 60 + 60  # GEGLU's in at both widths, its out at the inner one
    assert len(replaced) - len(feed_forward) == 60  # the inner width's fused projections
    assert all(unet.get_submodule(name).get_buffer("weight").numel() >= LARGE for name in feed_forward)


def test_a_unet_in_8_bits_predicts_nearly_the_same():
    folder = InstantIDFolder(GOLDEN_INSTANTID, EXACT)
    adapter, denoiser, *_ = folder.parts
    conditioning = conditioning_of(folder, adapter)
    unet = denoiser.modules()[0]
    expected = call(denoiser, [conditioning])
    replaced = use_fp8(unet, large=0)
    layers = [layer for _, layer in attention_layers(unet) if not layer.is_cross_attention]
    assert len(replaced) == 3 * len(layers)
    assert 0 < apart(call(denoiser, [conditioning]), expected) < 0.05
    assert not any("to_q" in name for layer in layers for name, _ in layer.named_parameters())
