"""The stock diffusers pipelines over the same random networks: what people run without us.

bfloat16, no guidance, LoRA fused (as random weights have it), torch's scaled_dot_product_attention. Stock InstantID is
the SDXL ControlNet pipeline: the community's own has another branch in each cross-attention, 0.3 % more work that
stock is let off here. With `compiled` the UNet and the decoder go through torch.compile as diffusers' guide does it.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.pipelines.controlnet.pipeline_controlnet_sd_xl import StableDiffusionXLControlNetPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import nn

from models.bundle.modules import Place
from scripts.gpu.networks import Networks, PersonInputs, keypoint_picture, unit_noise
from scripts.gpu.ours import SCALE, BatchTimes, Case
from scripts.gpu.shapes import INSTANTID, Shapes


class StockOnGpu:
    attention = "torch's choice"
    num_recordings = 0

    def __init__(self, shapes: Shapes, place: Place, steps: int, *, compiled: bool = False) -> None:
        self._shapes, self._place, self._steps = shapes, place, steps
        networks, self._person = Networks.random(shapes, place), PersonInputs.random(shapes, place)
        self._marks = {name: Marks(place.device) for name in ("unet", "decode")}
        self._pipelines = self._build(networks)
        if not compiled:  # a hook is no part of a compiled program
            self._marks["unet"].follow(networks.unet)
            self._marks["decode"].follow(networks.vae.decoder)
        else:
            networks.unet.compile(mode="reduce-overhead", fullgraph=True)
            networks.vae.decoder.compile(mode="reduce-overhead", fullgraph=True)

    def warm(self, cases: Sequence[Case]) -> None:
        for case in cases:
            for seed in range(2):
                self.take(case, seed)

    def take(self, case: Case, seed: int) -> BatchTimes:
        for marks in self._marks.values():
            marks.clear()
        arguments = self._arguments(case, seed)
        began = time.perf_counter()
        images = self._pipelines[case.adapter == INSTANTID](**arguments).images
        total = time.perf_counter() - began
        assert len(images) == case.batch
        return BatchTimes(total, self._marks["unet"].seconds(), self._marks["decode"].seconds())

    def flow(self, case: Case, seconds: float) -> float:
        """Batches one after another: there is nothing that could overlap."""
        began, made = time.perf_counter(), 0
        while not made or time.perf_counter() - began < seconds:
            self.take(case, made)
            made += case.batch
        return made / (time.perf_counter() - began)

    def _build(self, networks: Networks) -> tuple[Any, Any]:
        """Without a ControlNet, and with."""
        parts: dict[str, Any] = {
            "vae": networks.vae,
            "text_encoder": None,
            "text_encoder_2": None,
            "tokenizer": None,
            "tokenizer_2": None,
            "unet": networks.unet,
            "scheduler": EulerDiscreteScheduler(
                beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="trailing"
            ),
        }
        plain = StableDiffusionXLPipeline(**parts, add_watermarker=False)
        controlled = StableDiffusionXLControlNetPipeline(**parts, controlnet=networks.net, add_watermarker=False)
        for pipeline in (plain, controlled):
            pipeline.set_progress_bar_config(disable=True)
        return plain, controlled

    def _arguments(self, case: Case, seed: int) -> dict[str, Any]:
        person, place = self._person, self._place
        noise = unit_noise(seed, case.batch, case.size, self._shapes).to(place.device, place.dtype)
        arguments: dict[str, Any] = {
            "prompt_embeds": person.embeds.repeat(case.batch, 1, 1),
            "pooled_prompt_embeds": person.pooled.repeat(case.batch, 1),
            "num_inference_steps": self._steps,
            "guidance_scale": 1.0,
            "latents": noise,
            "width": case.size,
            "height": case.size,
            "output_type": "pil",
        }
        if case.adapter == INSTANTID:
            picture = keypoint_picture(case.size).permute(2, 0, 1)[None] / 255
            arguments |= {"image": picture.repeat(case.batch, 1, 1, 1), "controlnet_conditioning_scale": SCALE}
        return arguments


class Marks:
    """Seconds that a module's calls take on the device, told by events so that nothing waits for them."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._pairs: list[list[Any]] = []

    def follow(self, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda *_: self._pairs.append([self._now()]))
        module.register_forward_hook(lambda *_: self._pairs[-1].append(self._now()))

    def clear(self) -> None:
        self._pairs.clear()

    def seconds(self) -> list[float]:
        """Once the device has ended."""
        if self._on_gpu:
            return [began.elapsed_time(ended) / 1000 for began, ended in self._pairs]
        return [ended - began for began, ended in self._pairs]

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
