"""`zsxkib/instant-id`: its inputs, and what they become here.

Names, ranges and defaults as published: the input schema of version 491ddf5b and cog/predict.py of zsxkib/InstantID.
`width` and `height` are of older versions, and callers still send them.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.wire.bundle_info import BundleInfo
from models.wire.groups import Delivery, Placing, Sampling
from service.api.forms.portrait import AnyPrompt, PortraitForm, Seed
from service.api.replicate.photomaker import place_subject
from service.api.replicate.translation import (
    Translated,
    Uri,
    YesNo,
    at_most,
    fit_guidance,
    fit_size,
    fit_steps,
    only,
    refuse,
)

ADAPTERS = ("instantid",)
BASE_WEIGHTS = "stable-diffusion-xl-base-1.0"
SCHEDULER = "EulerDiscreteScheduler"
DEFAULT_STEPS = 30
DEFAULT_GUIDANCE = 7.5
DEFAULT_SCALE = 0.8
NO_NETWORK = "there is no such control network; the face is placed by its keypoints."

Scale = Annotated[float, Meta(ge=0, le=1.5, description="a number from 0 to 1.5 (over 1 can't be had here)")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Side = Annotated[int, Meta(ge=64, le=4096, description="a whole number of pixels from 64 to 4096")]
Name = Annotated[str, Meta(max_length=128, description="a name")]


class InstantIdInput(Struct, frozen=True, kw_only=True):
    """The inputs of `zsxkib/instant-id`."""

    image: Uri
    pose_image: Uri | None = None
    prompt: AnyPrompt = "a person"
    negative_prompt: AnyPrompt = ""
    sdxl_weights: Name = BASE_WEIGHTS
    scheduler: Name = SCHEDULER
    num_inference_steps: Annotated[int, Meta(ge=1, le=500, description="a whole number from 1 to 500")] = DEFAULT_STEPS
    guidance_scale: Annotated[float, Meta(ge=1, le=50, description="a number from 1 to 50")] = DEFAULT_GUIDANCE
    ip_adapter_scale: Scale = DEFAULT_SCALE
    controlnet_conditioning_scale: Scale = DEFAULT_SCALE
    enable_pose_controlnet: YesNo = True
    pose_strength: Share = 0.4
    enable_canny_controlnet: YesNo = False
    canny_strength: Share = 0.3
    enable_depth_controlnet: YesNo = False
    depth_strength: Share = 0.5
    enable_lcm: YesNo = False
    lcm_num_inference_steps: Annotated[int, Meta(ge=1, le=10, description="a whole number from 1 to 10")] = 5
    lcm_guidance_scale: Annotated[float, Meta(ge=1, le=20, description="a number from 1 to 20")] = 1.5
    enhance_nonface_region: YesNo = True
    output_format: Annotated[
        Literal["webp", "jpg", "png"], Meta(description="webp, jpg or png", extra={"words": {"jpeg": "jpg"}})
    ] = "webp"
    output_quality: Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")] = 80
    seed: Seed | None = None
    num_outputs: Annotated[int, Meta(ge=1, le=8, description="a whole number from 1 to 8")] = 1
    disable_safety_checker: YesNo = False
    face_detection_input_width: Side = 640
    face_detection_input_height: Side = 640
    width: Side | None = None
    height: Side | None = None

    def __repr__(self) -> str:
        return f"InstantIdInput(num_outputs={self.num_outputs})"


def translate(given: InstantIdInput, bundle: BundleInfo) -> Translated:
    """Raises BadInput."""
    notes: list[str] = []
    _refuse_foreign(given)
    prompt, subject = place_subject(given.prompt)
    lcm = given.enable_lcm
    if lcm and "lcm" not in bundle.samplers:
        raise refuse("enable_lcm", "'enable_lcm' must be false here: this model has no LCM sampler.")
    fitted = fit_steps("num_inference_steps", given.num_inference_steps, DEFAULT_STEPS, bundle, notes)
    guided = fit_guidance("guidance_scale", given.guidance_scale, DEFAULT_GUIDANCE, bundle, notes)
    form = PortraitForm(
        prompt=prompt.strip() or "a person",
        negative_prompt=given.negative_prompt or None,
        subject=subject,
        n=given.num_outputs,
        seed=given.seed,
        adapter=ADAPTERS[0],
        sampling=Sampling(
            size=fit_size(given.width, given.height, bundle, notes),
            steps=min(given.lcm_num_inference_steps, bundle.max_steps) if lcm else fitted,
            sampler="lcm" if lcm else None,
            guidance=given.lcm_guidance_scale if lcm else guided,
            strength=_scale("ip_adapter_scale", given.ip_adapter_scale),
        ),
        placing=Placing(
            control_strength=_scale("controlnet_conditioning_scale", given.controlnet_conditioning_scale),
            framing=None if given.pose_image else "selfie",
            region="face" if given.enhance_nonface_region else "picture",
        ),
        delivery=Delivery(
            format="jpeg" if given.output_format == "jpg" else given.output_format,
            quality=max(given.output_quality, 1),
        ),
    )
    pose = None if given.pose_image is None else ("pose_image", given.pose_image)
    return Translated(form=form, selfies=[("image", given.image)], pose=pose, notes=notes)


def _refuse_foreign(given: InstantIdInput) -> None:
    """Other weights, schedulers and control networks: refused unless they are that model's defaults."""
    only("sdxl_weights", given.sdxl_weights, BASE_WEIGHTS, "the base model is the operator's choice (GET /v1/models).")
    only("scheduler", given.scheduler, SCHEDULER, "the sampler goes with the model (or set enable_lcm).")
    only("enable_canny_controlnet", given.enable_canny_controlnet, False, NO_NETWORK)
    only("enable_depth_controlnet", given.enable_depth_controlnet, False, NO_NETWORK)
    if given.enable_pose_controlnet and given.pose_strength > 0:
        only("pose_strength", given.pose_strength, 0.4, "(its default, which is left out, or 0) " + NO_NETWORK)


def _scale(name: str, value: float) -> float | None:
    return None if value == DEFAULT_SCALE else at_most(name, value, 1)
