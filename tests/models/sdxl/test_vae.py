"""Decoding against the diffusers modules themselves, for both kinds of VAE."""

import json

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from models.sdxl.vae import Decoder
from models.weights.modules import EXACT, build_vae
from tests.models.conftest import GOLDEN


def as_pixels(image):
    return (image * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def full_vae(**changes):
    config = json.loads((GOLDEN / "configs.json").read_text())["vae"] | changes
    return build_vae(config, load_file(GOLDEN / "vae.safetensors"), EXACT)


def tiny_vae():
    widths = (8, 8, 8, 8, 8)
    config = {
        "_class_name": "AutoencoderTiny",
        "encoder_block_out_channels": widths,
        "decoder_block_out_channels": widths,
        "num_encoder_blocks": (1, 1, 1, 1, 1),
        "num_decoder_blocks": (1, 1, 1, 1, 1),
        "latent_channels": 6,
    }
    torch.manual_seed(1)
    source = AutoencoderTiny(**{k: v for k, v in config.items() if k != "_class_name"})
    return build_vae(config, source.state_dict(), EXACT), source.eval()


def latents(channels, count=2):
    return torch.randn(count, channels, 4, 6, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def test_the_full_vae_undoes_the_scaling_of_its_config():
    vae = full_vae()
    decoder = Decoder(vae)
    z = latents(4)
    expected = as_pixels(vae.decode(z / 0.13025).sample)
    assert decoder.factor == 8
    assert (decoder.decode(z).int() - expected.int()).abs().max() <= 1  # channels-last convolutions round otherwise


@torch.inference_mode()
def test_a_vae_with_means_and_deviations_undoes_these_too():
    mean, std = [0.1, -0.2, 0.3, 0.0], [1.1, 0.9, 1.0, 2.0]
    vae = full_vae(latents_mean=mean, latents_std=std)
    z = latents(4)
    undone = z * torch.tensor(std).view(1, 4, 1, 1) / 0.13025 + torch.tensor(mean).view(1, 4, 1, 1)
    assert (Decoder(vae).decode(z).int() - as_pixels(vae.decode(undone).sample).int()).abs().max() <= 1


@torch.inference_mode()
def test_a_tiny_vae_decodes_by_the_same_call():
    vae, source = tiny_vae()
    decoder = Decoder(vae)
    z = latents(6)
    assert (decoder.factor, decoder.latent_channels) == (16, 6)
    pixels = decoder.decode(z)
    assert pixels.shape == (2, 64, 96, 3)
    assert (pixels.int() - as_pixels(source.decode(z).sample).int()).abs().max() <= 1


@pytest.mark.parametrize("make", [full_vae, lambda: tiny_vae()[0]], ids=["full", "tiny"])
def test_a_picture_does_not_depend_on_its_neighbours(make):
    decoder = Decoder(make())
    z = latents(decoder.latent_channels)
    assert (decoder.decode(z)[1].int() - decoder.decode(z[1:])[0].int()).abs().max() <= 1
