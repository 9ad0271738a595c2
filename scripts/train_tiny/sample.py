"""Portraits from an exported bundle, by the libraries' own sampler: what the service should make of the same files."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from models.adapters.photomaker.checkpoint import build_encoder, read_shape, split_checkpoint
from models.adapters.photomaker.encoder import PhotoMakerEncoder
from models.adapters.photomaker.pixels import clip_pixels
from models.adapters.photomaker.trigger import expand, with_trigger
from models.faces.network import Network, planes
from models.messages import Picture
from models.weights.modules import EXACT, build_text_encoder, build_unet, build_vae
from scripts.train_tiny.generator import IMAGE_SIZE, LATENT_SIZE
from scripts.train_tiny.recogniser import aligned_crop
from scripts.train_tiny.vae import decode


@dataclass(frozen=True, slots=True)
class Sampler:
    """Everything of one exported bundle that making a portrait needs."""

    unet: UNet2DConditionModel
    vae: AutoencoderTiny
    encoders: tuple[CLIPTextModel, CLIPTextModelWithProjection]
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer]
    id_encoder: PhotoMakerEncoder
    recogniser: Network
    scheduler: EulerDiscreteScheduler

    def embedding(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """[512] raw."""
        return self.recogniser(planes(aligned_crop(picture, landmarks), 127.5, 127.5)[None])[0][0]

    @torch.inference_mode()
    def identity(self, picture: np.ndarray, landmarks: np.ndarray) -> Tensor:
        """ID tokens [k, D] of one selfie."""
        embedding = torch.from_numpy(self.embedding(picture, landmarks))[None]
        height, width = picture.shape[:2]
        selfie = Picture(width=width, height=height, rgb=np.ascontiguousarray(picture).tobytes())
        pixels = clip_pixels(selfie, self.id_encoder.shape.vision.image_size)[None]
        return self.id_encoder(pixels, embedding)[0]

    @torch.inference_mode()
    def portrait(self, tokens: Tensor | None, prompt: str, *, seed: int, steps: int = 4) -> np.ndarray:
        """[256, 256, 3] uint8. `prompt` has the trigger; without `tokens` nobody in particular is shown."""
        embeds, pooled = self._condition(tokens, prompt)
        size = torch.tensor([[IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE]], dtype=torch.float32)
        self.scheduler.set_timesteps(steps)
        generator = torch.Generator().manual_seed(seed)
        channels = self.unet.config["in_channels"]
        x = torch.randn(1, channels, LATENT_SIZE, LATENT_SIZE, generator=generator) * self.scheduler.init_noise_sigma
        for t in self.scheduler.timesteps:
            scaled = self.scheduler.scale_model_input(x, t)
            added = {"text_embeds": pooled, "time_ids": size}
            velocity = self.unet(scaled, t, embeds, added_cond_kwargs=added, return_dict=False)[0]
            x = self.scheduler.step(velocity, t, x, return_dict=False)[0]
        pixels = decode(self.vae, x)[0].permute(1, 2, 0) * 127.5 + 127.5
        return pixels.round().clamp(0, 255).to(torch.uint8).numpy()

    def _condition(self, tokens: Tensor | None, prompt: str) -> tuple[Tensor, Tensor]:
        number = 1 if tokens is None else len(tokens)
        first, second = (expand(tokenizer, prompt, number) for tokenizer in self.tokenizers)
        small = self.encoders[0](torch.tensor([first.ids]), output_hidden_states=True)
        large = self.encoders[1](torch.tensor([second.ids]), output_hidden_states=True)
        embeds = torch.cat([small.hidden_states[-2], large.hidden_states[-2]], dim=-1)
        if tokens is not None:
            embeds = self.id_encoder.fuse(embeds[0], torch.tensor(second.positions), tokens)[None]
        return embeds, large.text_embeds


def load_sampler(folder: Path) -> Sampler:
    def config(part: str) -> dict[str, object]:
        return json.loads((folder / part / "config.json").read_text())

    def state(part: str) -> dict[str, Tensor]:
        return load_file(next((folder / part).glob("*.safetensors")))

    small, large = (build_text_encoder(config(p), state(p), EXACT) for p in ("text_encoder", "text_encoder_2"))
    assert isinstance(large, CLIPTextModelWithProjection)
    vae = build_vae(config("vae"), state("vae"), EXACT)
    assert isinstance(vae, AutoencoderTiny)
    first, second = (CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2"))
    for tokenizer in (first, second):
        with_trigger(tokenizer)
    checkpoint = split_checkpoint(state("photomaker"), read_shape(folder / "photomaker" / "config.json"))
    scheduler = EulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    assert isinstance(scheduler, EulerDiscreteScheduler)
    return Sampler(
        unet=build_unet(config("unet"), state("unet"), EXACT),
        vae=vae,
        encoders=(small, large),  # pyright: ignore[reportArgumentType]
        tokenizers=(first, second),
        id_encoder=build_encoder(checkpoint, EXACT.device, EXACT.dtype),
        recogniser=Network((folder / "faces" / "recogniser.onnx").read_bytes(), device="cpu", threads=1),
        scheduler=scheduler,
    )
