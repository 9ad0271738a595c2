"""Recorded PhotoMaker tensors: encoders, preprocessing, triggers and whole pipelines.

The pipeline cases run through the service's own text encoders, adapter, denoiser and engine; every size is read from
the folder's configs. Latents are recorded in the reference's sigma coordinates, x * sqrt(1 + sigma^2) of ours.
"""

import json
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizer

from models.adapters.adapter import Scene
from models.adapters.clip_pixels import clip_pixels
from models.adapters.lora import fuse_loras, read_lora
from models.adapters.lora_names import ModuleNames
from models.adapters.photomaker.adapter import PhotoMaker
from models.adapters.photomaker.checkpoint import build_encoder, read_shape, split_checkpoint
from models.adapters.photomaker.encoder import EncoderShape, PhotoMakerEncoder
from models.adapters.photomaker.trigger import TriggerError, expand, with_trigger
from models.bundle.modules import EXACT, Place, build_process, build_text_encoder, build_unet, build_vae
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row
from models.faces.face import Face
from models.sdxl.conditioning import RowConditioning
from models.sdxl.denoiser import Denoiser
from models.sdxl.text import TextEncoders
from models.sdxl.vae import Decoder
from models.wire.filled_sampling import FilledSampling
from models.wire.groups import size_text
from models.wire.order import Words
from models.wire.picture import Picture
from scripts.golden.outcome import PIXEL_TOLERANCE, Outcome, difference

ENCODER_TOLERANCE = 1e-4
LATENT_TOLERANCE = 2e-3  # latents reach 50; float32 alone makes 4e-5 (fp32_vs_fp64_max_abs in the records)


class PhotoMakerFolder:
    """One folder of records; modules are built once per version."""

    def __init__(self, folder: Path, place: Place = EXACT) -> None:
        self.folder = folder
        self.place = place
        self._makers: dict[str, tuple[PhotoMaker, Denoiser]] = {}

    def outcomes(self) -> Iterator[Outcome]:
        return (self.check_case(case) for case in self.json("index.json")["cases"])

    def check_case(self, case: str) -> Outcome:
        check = {
            "id": self._check_encoder,
            "preprocess": self._check_preprocessing,
            "pipeline": self._check_pipeline,
            "trigger": self._check_trigger,
        }[case.split("_")[0]]
        return check(case.removesuffix(".json"))

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def tensors(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{name}.safetensors")

    @cached_property
    def configs(self) -> dict[str, Any]:
        return self.json("configs.json")

    @cached_property
    def text(self) -> TextEncoders:
        names = ("text_encoder", "text_encoder_2")
        first, second = (build_text_encoder(self.configs[n], self.tensors(n), self.place) for n in names)
        return TextEncoders(self.tokenizers(), (first, second))

    def tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        first, second = (CLIPTokenizer.from_pretrained(self.folder / n) for n in ("tokenizer", "tokenizer_2"))
        return first, second

    def encoder(self, version: str) -> tuple[PhotoMakerEncoder, dict[str, Tensor], EncoderShape]:
        shape = read_shape(json.loads((self.folder / f"photomaker_{version}.json").read_text()))
        checkpoint = split_checkpoint(self.tensors(f"photomaker_{version}"), shape)
        return build_encoder(checkpoint, self.place.device, self.place.dtype), checkpoint.lora, shape

    def maker(self, version: str) -> tuple[PhotoMaker, Denoiser]:
        """The adapter, and a UNet with its LoRA fused."""
        if version not in self._makers:
            encoder, lora, _ = self.encoder(version)
            unet = build_unet(self.configs["unet"], self.tensors("unet"), self.place)
            fuse_loras({"unet": unet}, [(read_lora(lora, ModuleNames({"unet": unet})), 1.0)])
            maker = PhotoMaker(encoder, self.text, self.tokenizers(), face_space="golden")
            self._makers[version] = maker, Denoiser(unet)
        return self._makers[version]

    def _check_encoder(self, case: str) -> Outcome:
        version = case.split("_")[2]
        encoder, _, shape = self.encoder(version)
        data = self.tensors(case)
        with torch.inference_mode():
            embeds = data["in.id_embeds"][0] if shape.perceiver else None
            tokens = encoder(data["in.id_pixel_values"][0], embeds).flatten(0, 1)
            positions = data["in.class_tokens_mask"][0].nonzero()[:, 0]
            fused = encoder.fuse(data["in.prompt_embeds"][0], positions, tokens)
        return Outcome(case, difference(fused, data["out.updated_prompt_embeds"][0]), ENCODER_TOLERANCE)

    def _check_preprocessing(self, case: str) -> Outcome:
        data = self.tensors(case)
        size = int(case.split("_")[-1])
        count = sum(key.startswith("in.image.") for key in data)
        differences = [
            difference(clip_pixels(picture_of(data[f"in.image.{i}"]), size), data[f"out.pixel_values.{i}"])
            for i in range(count)
        ]
        return Outcome(case, max(differences), ENCODER_TOLERANCE)

    def _check_trigger(self, case: str) -> Outcome:
        """Ids are equal or not: the difference is the number of prompts that disagree."""
        tokenizers = self.tokenizers()
        for tokenizer in tokenizers:
            with_trigger(tokenizer)
        misses = sum(not _expands_as_recorded(tokenizers, record) for record in self.json(f"{case}.json"))
        return Outcome(case, float(misses), 0.0)

    def _check_pipeline(self, case: str) -> Outcome:
        record, data = self.json(f"{case}.json"), self.tensors(case)
        maker, denoiser = self.maker(record["version"])
        rows = self._rows(record, data, maker)
        decoder = Decoder(build_vae(self.configs["vae"], self.tensors("vae"), self.place))
        engine = Engine(denoiser, decoder, buckets=(len(rows),))
        for row in rows:
            engine.add(row)
        differences = []
        report = None
        for step, sigma in enumerate(data["out.sigmas"][1:].tolist()):
            report = engine.tick()
            latents = torch.stack([row.latent for row in rows]) * math.sqrt(1 + sigma**2)
            differences.append(difference(latents, data[f"out.latents.{step}"]))
        if "out.decoded_image" in data:
            assert report is not None
            pixels = torch.stack([f.pixels for f in report.finished]).permute(0, 3, 1, 2) / 255
            expected = data["out.decoded_image"]
            if (worst := difference(pixels, expected)) > PIXEL_TOLERANCE:
                return Outcome(f"{case} (pixels)", worst, PIXEL_TOLERANCE)
        return Outcome(case, max(differences), LATENT_TOLERANCE)

    def _rows(self, record: dict[str, Any], data: dict[str, Tensor], maker: PhotoMaker) -> list[Row]:
        case = record["case"]
        plan = make_plan("euler", case["num_inference_steps"], build_process(self.configs["scheduler"]))
        conditioning = _condition(case, data, maker)
        guided = case["guidance_scale"] > 1
        return [
            Row(
                job_id="golden",
                index=index,
                seed=0,
                key=BatchKey("golden", maker.name, case["width"], case["height"], guided),
                plan=plan,
                conditioning=conditioning,
                guidance=case["guidance_scale"],
                deadline=math.inf,
                latent=latent.to(self.place.device) * plan.initial_scale,
            )
            for index, latent in enumerate(data["in.latents_in"])
        ]


def _condition(case: dict[str, Any], data: dict[str, Tensor], maker: PhotoMaker) -> RowConditioning:
    count, steps = case["n_images"], case["num_inference_steps"]
    selfies = [picture_of(data[f"in.image.{i}"]) for i in range(count)]
    scene = Scene(
        words=Words(prompt=case["prompt"], negative_prompt=case["negative_prompt"], subject="man"),
        sampling=FilledSampling(
            size=size_text((case["width"], case["height"])),
            steps=steps,
            sampler="euler",
            guidance=case["guidance_scale"],
            strength=(steps - 1 - case["start_merge_step"]) / steps,
        ),
    )
    maker.check_scene(scene, count)
    embeddings = data["in.id_embeds"].numpy() if "in.id_embeds" in data else [None] * count
    return maker.condition(maker.identity(selfies, [face_of(e) for e in embeddings]), scene)


def face_of(embedding: Any) -> Face:
    return Face((0, 0, 1, 1), np.zeros((5, 2), np.float32), 1.0, embedding, None if embedding is None else "golden")


def picture_of(pixels: Tensor) -> Picture:
    height, width, _ = pixels.shape
    return Picture(width=width, height=height, rgb=pixels.numpy().tobytes())


def _expands_as_recorded(tokenizers: tuple[CLIPTokenizer, CLIPTokenizer], record: dict[str, Any]) -> bool:
    num_tokens = record["num_id_images"] * record["num_tokens_per_image"]
    try:
        first, second = (expand(tokenizer, record["prompt"], num_tokens) for tokenizer in tokenizers)
    except TriggerError:
        return bool(record.get("error"))
    return not record.get("error") and (
        list(first.ids) == record["ids_tokenizer"]
        and list(second.ids) == record["ids_tokenizer_2"]
        and list(second.positions) == record["class_token_positions"]
        and list(first.plain_ids) == record["text_only_ids_tokenizer"]
        and list(second.plain_ids) == record["text_only_ids_tokenizer_2"]
    )
