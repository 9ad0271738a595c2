"""Latents to pixels and back, with the full VAE or a tiny one (TAESDXL's class)."""

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor, nn

from models.engine.runners import Calls, EagerRunner, Inputs, MakeRunner, Outputs


class Decoder:
    """[B, C, h, w] latents -> [B, H, W, 3] uint8. Scaling, and mean and std where a VAE has them, are its own."""

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny, *, make_runner: MakeRunner = EagerRunner) -> None:
        self._vae = vae
        self.calls = Calls(make_runner(self._forward, [vae]))
        self.device = vae.device
        self.dtype = vae.dtype
        self.latent_channels: int = vae.config["latent_channels"]
        self.factor = _downscaling(vae)
        self._scale, self._shift = (factor.to(self.device) for factor in _affine(vae))

    def modules(self) -> list[nn.Module]:
        return [self._vae]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Pixels stay on the device, packed for the way out. Latents must be finite, which the engine checks: of others
        a black picture would come, without a word."""
        (image,) = self.calls({"latents": self._scaled(latents)})
        pixels = (image.float() * 127.5 + 127.5).round().clamp(0, 255)
        return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    @torch.inference_mode()
    def resized(self, latents: Tensor, width: int, height: int) -> Tensor:
        """Latents of the same pictures at another size, through pixels: bicubic latents are no picture's latents."""
        (image,) = self._forward({"latents": self._scaled(latents)})  # a recording may be playing on another stream
        pixels = image.float()
        pixels = F.interpolate(pixels, size=(height, width), mode="bicubic", antialias=True).clamp(-1, 1)
        pixels = pixels.to(self.dtype).contiguous(memory_format=torch.channels_last)
        (encoded,) = self._vae.encode(pixels, return_dict=False)
        means = encoded if isinstance(encoded, Tensor) else encoded.mode()  # the full VAE gives a distribution
        return (means.float() - self._shift) / self._scale

    def _scaled(self, latents: Tensor) -> Tensor:
        latents = latents * self._scale + self._shift
        return latents.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def _forward(self, inputs: Inputs) -> Outputs:
        """[B, 3, H, W], about -1 to 1."""
        (image,) = self._vae.decode(inputs["latents"], return_dict=False)  # pyright: ignore[reportArgumentType]
        return (image,)


def _downscaling(vae: AutoencoderKL | AutoencoderTiny) -> int:
    channels = vae.config.get("block_out_channels") or vae.config["decoder_block_out_channels"]
    return 2 ** (len(channels) - 1)


def _affine(vae: AutoencoderKL | AutoencoderTiny) -> tuple[Tensor, Tensor]:
    """Per-channel scale and shift [1, C or 1, 1, 1] that undo the latent normalisation of training."""
    scaling = vae.config["scaling_factor"]
    mean, std = vae.config.get("latents_mean"), vae.config.get("latents_std")
    if mean is None or std is None:
        return torch.tensor(1 / scaling).view(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    return torch.tensor(std).view(1, -1, 1, 1) / scaling, torch.tensor(mean).view(1, -1, 1, 1)
