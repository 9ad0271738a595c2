"""Folding the linear end of a tiny decoder changes what it costs and nothing that it makes."""

import copy

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from models.bundle.bundle import load_bundle
from models.sdxl.folded import FoldedTail, fold
from models.weights.manifest import read_manifest


def tiny_vae(blocks=(1, 0), **config):
    torch.manual_seed(2)
    widths = (8,) * len(blocks)
    vae = AutoencoderTiny(
        encoder_block_out_channels=widths, decoder_block_out_channels=widths, num_encoder_blocks=(1,) * len(blocks),
        num_decoder_blocks=blocks, **config,
    )  # fmt: skip
    return vae.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (2, 3), (1, 1)])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_folded_decoder_makes_the_same_picture_to_its_last_corner(height, width, rows):
    vae = tiny_vae()
    folded = fold(copy.deepcopy(vae))
    assert isinstance(folded.decoder.layers[-1], FoldedTail)
    latents = torch.randn(rows, 4, height, width)
    assert torch.allclose(folded.decode(latents)[0], vae.decode(latents)[0], atol=1e-5)


def test_no_layer_is_asked_for_more_than_the_picture_s_edge():
    """Otherwise the two convolutions at full size would still be paid for."""
    folded = fold(tiny_vae())
    tail, seen = folded.decoder.layers[-1], []
    tail.layers.register_forward_hook(lambda module, given, made: seen.append(min(made.shape[-2:])))
    folded.decode(torch.randn(1, 4, 8, 8))
    assert seen == [4, 4]


@pytest.mark.parametrize(
    "vae",
    [
        tiny_vae(blocks=(1, 1)),  # TAESDXL's: a block with a bend in it follows the last upsampling
        tiny_vae(upsample_fn="bilinear"),
        tiny_vae(upsampling_scaling_factor=3),
    ],
)
def test_decoders_that_end_otherwise_stay_as_they_are(vae):
    layers = list(vae.decoder.layers)
    assert list(fold(vae).decoder.layers) == layers


def test_the_embedded_bundle_s_decoder_is_folded():
    bundle = load_bundle(read_manifest(), "tiny")
    [vae] = bundle.decoder.modules()
    assert isinstance(vae.decoder.layers[-1], FoldedTail)
