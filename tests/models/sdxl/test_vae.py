"""Decoding against the diffusers modules themselves, for both kinds of VAE."""

import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from models.bundle.modules import EXACT, build_vae
from models.sdxl.vae import Decoder
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


@torch.inference_mode()
@pytest.mark.parametrize("changes", [{}, {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [1.0, 2.0, 3.0, 4.0]}])
def test_resizing_goes_through_pixels_and_back_into_normalised_latents(changes):
    vae, z = full_vae(**changes), latents(4)
    mean, std = (torch.tensor(changes.get(key, default)).view(1, -1, 1, 1) for key, default in MOMENTS.items())
    pixels = vae.decode(z * std / 0.13025 + mean).sample
    larger = F.interpolate(pixels, size=(64, 96), mode="bicubic", antialias=True).clamp(-1, 1)
    expected = (vae.encode(larger).latent_dist.mode() - mean) * 0.13025 / std
    resized = Decoder(vae).resized(z, 96, 64)
    assert resized.shape == (2, 4, 8, 12)
    torch.testing.assert_close(resized, expected, atol=1e-4, rtol=1e-4)


MOMENTS = {"latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}


@torch.inference_mode()
def test_a_tiny_vae_resizes_too():
    vae, source = tiny_vae()
    z = latents(6)
    larger = F.interpolate(source.decode(z).sample, size=(128, 192), mode="bicubic", antialias=True).clamp(-1, 1)
    resized = Decoder(vae).resized(z, 192, 128)
    assert resized.shape == (2, 6, 8, 12)
    torch.testing.assert_close(resized, source.encode(larger).latents, atol=1e-4, rtol=1e-4)
