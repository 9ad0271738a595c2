"""The stock pipeline on a bundle's own files: diffusers' StableDiffusionXLPipeline, what people run without us."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from torch import Tensor

from models.engine.rows import Row
from models.sdxl.conditioning import Prompt
from scripts.studio import Studio, StudioOrder


class Stock:
    """Four steps or another number, without guidance, in float32; not thread-safe, like the pipeline itself."""

    def __init__(self, bundle: Path) -> None:
        """`bundle` is a folder in diffusers' layout."""
        self._pipeline = StableDiffusionXLPipeline.from_pretrained(
            bundle, dtype=torch.float32, add_watermarker=False, local_files_only=True
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def shoot(self, prompt: Prompt, noise: Tensor, *, steps: int, size: tuple[int, int]) -> np.ndarray:
        """[H, W, 3] uint8 from an encoded prompt, which may have a person in it, and unit noise [1, C, h, w]."""
        [picture] = self._pipeline(
            prompt_embeds=prompt.embeds[None],
            pooled_prompt_embeds=prompt.pooled[None],
            num_inference_steps=steps,
            guidance_scale=1.0,
            latents=noise,
            width=size[0],
            height=size[1],
            output_type="pil",
        ).images  # pyright: ignore[reportAttributeAccessIssue] - the return type is a union
        return np.asarray(picture)


@dataclass(frozen=True, slots=True)
class Comparison:
    cpu_vs_stock: float  # of CPU seconds a picture, all threads: ours over stock's
    max_abs_diff_vs_stock: int  # grey levels, over all pictures
    ours_cpu_ms: float
    stock_cpu_ms: float


def compare_with_stock(studio: Studio, stock: Stock, order: StudioOrder, rounds: int) -> Comparison:
    """Steps, decoding and packing of one picture alone, from the same encoded prompt and the same noise.

    A B B A, so that a drift of the machine's speed hits both; medians over `rounds` such rounds, after one to warm up.
    """
    seconds: dict[str, list[float]] = {"ours": [], "stock": []}
    apart = 0
    for seed in range(rounds + 1):
        made = {}
        for name in ("ours", "stock", "stock", "ours"):
            row = studio.prepare(replace(order, seed=seed))
            began = time.process_time()
            made[name] = _ours(studio, row) if name == "ours" else _stocks(stock, row)
            if seed:
                seconds[name].append(time.process_time() - began)
        apart = max(apart, int(np.abs(made["ours"].astype(int) - made["stock"]).max()))
    ours, others = median(seconds["ours"]), median(seconds["stock"])
    return Comparison(round(ours / others, 3), apart, round(ours * 1000, 1), round(others * 1000, 1))


def _ours(studio: Studio, row: Row) -> np.ndarray:
    [picture] = studio.develop([row])
    return picture


def _stocks(stock: Stock, row: Row) -> np.ndarray:
    noise = row.latent[None] / row.plan.initial_scale
    return stock.shoot(row.conditioning.personal, noise, steps=len(row.plan), size=(row.key.width, row.key.height))
