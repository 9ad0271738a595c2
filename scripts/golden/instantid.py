"""Recorded InstantID tensors: resampler, attention, IdentityNet, keypoint pictures and whole pipelines.

Everything runs through the service's own classes, and every size is read from the folder's configs and shapes. Euler's
latents are recorded in sigma coordinates, x * sqrt(1 + sigma^2) of ours.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from models.adapters.adapter import Identity, Pose, Scene
from models.adapters.instantid.adapter import FULL_SCALE, IDENTITY_NET, InstantID
from models.adapters.instantid.checkpoint import build_instantid
from models.adapters.instantid.keypoints import draw_keypoints
from models.adapters.perceiver import load_query_resampler
from models.bundle.modules import (
    EXACT,
    Place,
    build_control_net,
    build_process,
    build_text_encoder,
    build_unet,
    build_vae,
)
from models.engine.engine import Engine
from models.engine.plan import Plan, make_plan
from models.engine.rows import BatchKey, Row
from models.engine.variance_preserving import VariancePreserving
from models.sdxl.attention import ImagePrompt
from models.sdxl.conditioning import Prompt, RowConditioning
from models.sdxl.control import Control, ControlNet
from models.sdxl.denoiser import Denoiser
from models.sdxl.text import TextEncoders
from models.sdxl.vae import Decoder
from models.wire.filled_sampling import FilledSampling
from models.wire.groups import Placing, size_text
from models.wire.order import Words
from scripts.golden.outcome import PIXEL_TOLERANCE, Outcome, difference, relative_difference

TOLERANCE = 1e-4
PIXELS_MISSED = 0.005  # share of a keypoint picture's
EXTRA_NET = "extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a pipeline case was recorded with; its description says so in words, nothing else in the folder does."""

    guidance: float = 5.0
    steps: int | None = None  # None: the folder's
    sampler: str = "euler"
    scale: float = 0.8
    window: tuple[float, float] = (0.0, 1.0)
    with_negative: bool = True
    guess: bool = False
    masked: bool = False
    extra_scale: float | None = None  # of a second net, which reads the text
    from_picture: float | None = None  # img2img's strength


RECIPES = {
    "pipeline_cfg5": Recipe(),
    "pipeline_nocfg": Recipe(guidance=1.0),
    "pipeline_window": Recipe(window=(0.25, 0.75)),
    "pipeline_n2": Recipe(),
    "pipeline_noneg": Recipe(with_negative=False),
    "pipeline_leading6": Recipe(sampler="euler-leading", steps=6),
    "pipeline_lcm_g1.0": Recipe(sampler="lcm", guidance=1.0),
    "pipeline_lcm_g1.5": Recipe(sampler="lcm", guidance=1.5),
    "pipeline_guess_nocfg": Recipe(guidance=1.0, guess=True),
    "full_mask": Recipe(masked=True),
    "full_multi": Recipe(masked=True, extra_scale=0.4),
    "img2img": Recipe(steps=5, scale=0.5, from_picture=0.6),
}


class InstantIDFolder:
    """One folder of records; modules are built once."""

    def __init__(self, folder: Path, place: Place = EXACT) -> None:
        self.folder = folder
        self.place = place

    @property
    def cases(self) -> list[str]:
        """The recorded cases that are for us, in a fixed order.

        Two are not: sizes are the bundle's and no photo's (`resize_policy`), and the parser of prompts has its own
        test (`prompt_weights`).
        """
        parts = ["resampler", "fullsize_resampler", "unet_ip", "controlnet", "kps"]
        return [case for case in (*parts, *RECIPES) if (self.folder / f"{case}.json").is_file()]

    def outcomes(self) -> Iterator[Outcome]:
        return (self.check_case(case) for case in self.cases)

    def check_case(self, case: str) -> Outcome:
        """The worst of the case's tensors."""
        check = {
            "resampler": self._check_resampler,
            "fullsize_resampler": self._check_full_size_resampler,
            "unet_ip": self._check_unet,
            "controlnet": self._check_control_net,
            "kps": self._check_keypoints,
        }.get(case)
        with torch.inference_mode():
            return check(case) if check else self._check_pipeline(case)

    # ---- the folder

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def tensors(self, name: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{name}.safetensors", device=str(self.place.device))

    def component(self, name: str, weights: str = "diffusion_pytorch_model") -> tuple[Any, dict[str, Tensor]]:
        return self.json(f"{name}/config.json"), self.tensors(f"{name}/{weights}")

    @cached_property
    def config(self) -> dict[str, Any]:
        """Prompt, sizes and steps that all pipelines share."""
        return self.json("meta.json")["config"]

    @cached_property
    def shared(self) -> dict[str, Tensor]:
        """The main case, which holds the inputs of the others."""
        return self.tensors("pipeline_cfg5")

    @cached_property
    def process(self) -> VariancePreserving:
        return build_process(self.json("base/scheduler/scheduler_config.json"))

    @cached_property
    def unet(self) -> nn.Module:
        return build_unet(*self.component("base/unet"), self.place)

    @cached_property
    def vae(self) -> Any:
        return build_vae(*self.component("base/vae"), self.place)

    @cached_property
    def text(self) -> TextEncoders:
        names = ("text_encoder", "text_encoder_2")
        first, second = (build_text_encoder(*self.component(f"base/{n}", "model"), self.place) for n in names)
        one, two = (CLIPTokenizer.from_pretrained(self.folder / "base" / n) for n in ("tokenizer", "tokenizer_2"))
        return TextEncoders((one, two), (first, second))

    @cached_property
    def parts(self) -> tuple[InstantID, Denoiser, ControlNet]:
        """The adapter, the UNet with its nets, and the second net, whose weights are IdentityNet's once more."""
        config, state = self.component("ControlNetModel")
        pickle = torch.load(self.folder / "ip-adapter.bin", weights_only=True)
        adapter = {f"{part}.{key}": tensor for part, inner in pickle.items() for key, tensor in inner.items()}
        net, extra = (ControlNet(build_control_net(config, state, self.place)) for _ in range(2))
        denoiser = Denoiser(self.unet, nets={IDENTITY_NET: net, EXTRA_NET: extra})  # pyright: ignore[reportArgumentType]
        return build_instantid(adapter, net, self.unet, self.text, face_space="golden"), denoiser, extra

    # ---- single networks

    def _check_resampler(self, case: str) -> Outcome:
        data, (adapter, _, _) = self.tensors(case), self.parts
        seen = {
            "out.zero_and_face": torch.stack([adapter.tokens_of(e) for e in data["in.zero_and_face"]]),
            "out.two_tokens": adapter.tokens_of(data["in.two_tokens"][0])[None],
        }
        nobody, face = seen["out.zero_and_face"]
        seen["encode.cfg"] = torch.stack([nobody, face])
        seen["encode.nocfg"] = face[None]
        return _worst(case, seen, data)

    def _check_full_size_resampler(self, case: str) -> Outcome:
        data, sizes = self.tensors(case), self.json("full_size_keys.json")["adapter"]["image_proj"]
        weights = {key: _procedural(index, key, shape) for index, (key, shape) in enumerate(sorted(sizes.items()))}
        return _worst(case, {"out": load_query_resampler(weights).tokens(data["in"].cpu())}, data)

    def _check_unet(self, case: str) -> Outcome:
        data, (adapter, denoiser, _) = self.tensors(case), self.parts
        seen: dict[str, Tensor] = {}
        layers = {key.split(".out.scale")[0].removeprefix("attn.") for key in data if ".attn2.out" in key}
        for scale in sorted({key.removeprefix("out.scale") for key in data if key.startswith("out.scale")}):
            rows = [
                (
                    _bare(
                        data["text_tokens"][i],
                        data["text_embeds"][i],
                        data["time_ids"][i],
                        image=ImagePrompt(adapter.projection(tokens), float(scale)),
                    ),
                    0,
                )
                for i, tokens in enumerate(data["face_tokens"])
            ]
            with _Watch({name: self.unet.get_submodule(name) for name in layers}) as watch:
                seen[f"out.scale{scale}"] = denoiser.predict(data["sample"], data["timestep"].repeat(len(rows)), rows)
            seen |= {f"attn.{name}.out.scale{scale}": outputs[0] for name, outputs in watch.outputs.items()}
        return _worst(case, seen, data)

    def _check_control_net(self, case: str) -> Outcome:
        data, (_, _, net) = self.tensors(case), self.parts
        hint = net.hint((data["cond"][0].permute(1, 2, 0) * 255).round().to(torch.uint8))
        seen: dict[str, Tensor] = {}
        for kind in ("plain", "guess"):
            controls = [
                Control(
                    net=EXTRA_NET,
                    hint=hint,
                    context=net.context(tokens),
                    scale=FULL_SCALE,
                    steps=range(1),
                    guess=kind == "guess",
                )
                for tokens in data["face_tokens"]
            ]
            *down, middle = net.residuals(
                data["sample"], data["timestep"].repeat(2), data["text_embeds"], data["time_ids"], controls
            )
            seen |= {f"{kind}.down.{i}": residual for i, residual in enumerate(down)} | {f"{kind}.mid": middle}
        return _worst(case, seen, data)

    def _check_keypoints(self, case: str) -> Outcome:
        shares = []
        for item in self.json("kps.json")["items"].values():
            expected = np.asarray(Image.open(self.folder / item["png"]))
            drawn = draw_keypoints(np.array(item["kps_float32"], np.float32), item["width"], item["height"])
            shares.append(float((drawn != expected).any(axis=2).mean()))
        return Outcome(f"{case} (share of pixels)", max(shares), PIXELS_MISSED)

    # ---- pipelines

    def _check_pipeline(self, case: str) -> Outcome:
        recipe, data = RECIPES[case], self.tensors(case)
        _, denoiser, _ = self.parts
        conditioning = self._condition(recipe, data)
        rows = self._rows(recipe, data, conditioning)
        engine = Engine(denoiser, Decoder(self.vae), buckets=(len(rows),), draw_noise=_recorded_noise(data))
        for row in rows:
            engine.add(row)
        seen = _inputs(conditioning, len(rows))
        finished = []
        for step, scale in enumerate(_to_sigma_coordinates(data, recipe, len(rows[0].plan))):
            with _Watch({"unet": self.unet}) as watch:
                finished = engine.tick().finished
            seen[f"noise_pred_raw.{step}"] = watch.outputs["unet"][0][0]
            seen[f"unet_in.{step}"] = watch.inputs["unet"][0]
            seen[f"latents_after.{step}"] = torch.stack([row.latent for row in rows]) * scale
            if step == 0 and recipe.extra_scale is None and not recipe.masked:
                seen |= _residuals(watch.keywords["unet"])
        if "image_final" in data:
            pixels = torch.stack([one.pixels for one in finished]).permute(0, 3, 1, 2) / 255
            if (worst := difference(pixels, data["image_final"])) > PIXEL_TOLERANCE:
                return Outcome(f"{case} (pixels)", worst, PIXEL_TOLERANCE)
        return _worst(case, seen, data)

    def _condition(self, recipe: Recipe, data: dict[str, Tensor]) -> RowConditioning:
        adapter, _, extra = self.parts
        width, height = self.config["width"], self.config["height"]
        pose = Pose(self.shared["in.kps"].cpu().numpy(), _box(data), (width, height))
        scene = Scene(
            words=Words(
                prompt=re.sub(r"[()]", r"\\\g<0>", self.config["prompt"]),  # recorded with brackets as text
                negative_prompt=self.config["negative"] if recipe.with_negative else None,
                subject="man",
            ),
            sampling=FilledSampling(
                size=size_text((width, height)),
                steps=self._num_steps(recipe),
                sampler=recipe.sampler,
                guidance=recipe.guidance,
                strength=recipe.scale / FULL_SCALE,
            ),
            placing=Placing(
                control_strength=1.0, control_window=recipe.window, region="face" if recipe.masked else "picture"
            ),
            pose=pose,
        )
        adapter.check_scene(scene, 1)
        identity = Identity(self.shared["in.face_embedding"][None], pose)
        conditioning = adapter.condition(identity, scene)
        if recipe.guess:
            conditioning = replace(conditioning, controls=tuple(replace(c, guess=True) for c in conditioning.controls))
        if recipe.extra_scale is not None:
            assert conditioning.negative is not None, "recorded with guidance"
            control = Control(
                net=EXTRA_NET,
                hint=extra.hint(data["in.control_image_2_u8"]),
                context=extra.context(conditioning.personal.embeds),
                scale=recipe.extra_scale,
                steps=range(scene.sampling.steps),
            )
            conditioning = replace(
                conditioning,
                controls=(*conditioning.controls, control),
                negative_controls=(
                    *conditioning.negative_controls,
                    replace(control, context=extra.context(conditioning.negative.embeds)),
                ),
            )
        return conditioning

    def _num_steps(self, recipe: Recipe) -> int:
        return recipe.steps or self.config["steps"]

    def _rows(self, recipe: Recipe, data: dict[str, Tensor], conditioning: RowConditioning) -> list[Row]:
        plan = make_plan(recipe.sampler, self._num_steps(recipe), self.process)
        latents = data.get("in.latents", self.shared["in.latents"]) * plan.initial_scale
        if recipe.from_picture is not None:
            made = len(plan) - int(len(plan) * recipe.from_picture)
            plan = Plan(plan.steps[made:], plan.initial_scale)
            latents = self._noised(data, plan.steps[0].t)
        guided = recipe.guidance > 1
        key = BatchKey("golden", "golden", self.config["width"], self.config["height"], guided)
        return [
            Row(
                job_id="golden",
                index=index,
                seed=0,
                key=key,
                plan=plan,
                conditioning=conditioning,
                guidance=recipe.guidance,
                deadline=math.inf,
                latent=latent.to(self.place.device),
            )
            for index, latent in enumerate(latents)
        ]

    def _noised(self, data: dict[str, Tensor], t: float) -> Tensor:
        """The picture's latent, as noisy as it is at timestep `t`: where an img2img run begins."""
        pixels = data["in.image_u8"].permute(2, 0, 1)[None] / 127.5 - 1
        posterior = self.vae.encode(pixels).latent_dist
        clean = (posterior.mean + posterior.std * data["randn.0"]) * self.vae.config["scaling_factor"]
        level = self.process.level_at(t)
        return level.alpha * clean + level.sigma * data["randn.1"]


class _Watch:
    """Notes what modules get and give while it is open."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self._modules = modules
        self.inputs: dict[str, Any] = {}
        self.keywords: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, list[Any]] = {}

    def __enter__(self) -> "_Watch":
        self._hooks = [
            module.register_forward_hook(
                lambda _, inputs, keywords, output, name=name: self._note(name, inputs, keywords, output),
                with_kwargs=True,
            )
            for name, module in self._modules.items()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, name: str, inputs: Any, keywords: Any, output: Any) -> None:
        self.inputs[name], self.keywords[name] = inputs, keywords
        self.outputs.setdefault(name, []).append(output)


def _bare(embeds: Tensor, pooled: Tensor, time_ids: Tensor, image: ImagePrompt) -> RowConditioning:
    prompt = Prompt(embeds, pooled)
    return RowConditioning(personal=prompt, plain=prompt, merge_step=-1, negative=None, time_ids=time_ids, image=image)


def _box(data: dict[str, Tensor]) -> tuple[float, float, float, float]:
    """The face's, where one was recorded or its mask was; else any."""
    if "in.bbox" in data:
        x0, y0, x1, y1 = data["in.bbox"].tolist()
        return (x0, y0, x1, y1)
    if "in.mask_u8" not in data:
        return (0.0, 0.0, 1.0, 1.0)
    rows, columns, _ = data["in.mask_u8"].nonzero(as_tuple=True)
    return (float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1)


def _inputs(conditioning: RowConditioning, count: int) -> dict[str, Tensor]:
    """What all steps share: the text's part and sizes, negative side first."""
    sides = [conditioning.personal] if conditioning.negative is None else [conditioning.negative, conditioning.personal]
    return {
        "text_embeds": torch.stack([side.pooled for side in sides]).repeat_interleave(count, 0),
        "time_ids": conditioning.time_ids.repeat(len(sides) * count, 1),
        "prompt_embeds": conditioning.personal.embeds[None],
        "negative_prompt_embeds": sides[0].embeds[None],
    }


def _residuals(keywords: dict[str, Any]) -> dict[str, Tensor]:
    down = keywords["down_block_additional_residuals"]
    if down is None:
        return {}
    named = {f"controlnet0.down.{i}": residual for i, residual in enumerate(down)}
    return named | {"controlnet0.mid": keywords["mid_block_additional_residual"]}


def _recorded_noise(data: dict[str, Tensor]) -> Any:
    def draw(seed: int, which: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        return data[f"lcm_noise.{which - 1}"][0].to(device)

    return draw


def _to_sigma_coordinates(data: dict[str, Tensor], recipe: Recipe, num_steps: int) -> list[float]:
    """For each step the factor from our latents to the recorded ones; LCM's are recorded as ours."""
    if recipe.sampler == "lcm":
        return [1.0] * num_steps
    return [math.sqrt(1 + sigma**2) for sigma in data["scheduler.sigmas"].tolist()[-num_steps:]]


def _worst(case: str, seen: dict[str, Tensor], data: dict[str, Tensor]) -> Outcome:
    """Names the tensor if it misses; what was not recorded is not compared."""
    differences = {name: relative_difference(tensor, data[name]) for name, tensor in seen.items() if name in data}
    name, worst = max(differences.items(), key=lambda item: item[1])
    return Outcome(case if worst <= TOLERANCE else f"{case}: {name}", worst, TOLERANCE)


def _procedural(index: int, key: str, shape: Sequence[int]) -> Tensor:
    """The records' own weights: splitmix64 of the place and the key's number, as the case's recipe says."""
    with np.errstate(over="ignore"):
        z = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(index + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    even = (z >> np.uint64(40)).astype(np.float64) / 2**24  # 0 to 1
    vector = len(shape) == 1
    offset = 1.0 if vector and key.endswith("weight") else 0.0
    scale = 0.1 if vector else 1.7 / math.sqrt(shape[-1])
    return torch.from_numpy((offset + scale * (2 * even - 1)).astype(np.float32)).view(*shape)
