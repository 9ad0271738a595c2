"""`tencentarc/photomaker`: its inputs, and what they become here.

Names, ranges and defaults as published (github.com/TencentARC/PhotoMaker; replicate.com/tencentarc/photomaker). The
styles' words are ours: short, because a text encoder reads 77 tokens.
"""

import re
from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.wire.bundle_info import BundleInfo
from models.wire.groups import Delivery, Sampling
from service.api import class_word
from service.api.class_word import TRIGGER
from service.api.forms.portrait import AnyPrompt, PortraitForm, Seed
from service.api.replicate.translation import Translated, Uri, YesNo, fit_guidance, fit_steps, refuse
from service.errors import BadRequest

ADAPTERS = ("photomaker", "photomaker-v2")  # the published model's, and its successor where only that is warm
STYLES = {
    "(No style)": "{prompt}",
    "Cinematic": "cinematic still, {prompt}, dramatic light, shallow depth of field",
    "Disney Charactor": "3d animated film character, {prompt}, soft light, expressive",
    "Digital Art": "digital painting, {prompt}, vivid colours, fine detail",
    "Photographic (Default)": "photograph, {prompt}, 35mm, soft light, fine detail",
    "Fantasy art": "fantasy illustration, {prompt}, magical light, ornate",
    "Neonpunk": "neon lit cyberpunk, {prompt}, magenta and teal glow, night",
    "Enhance": "high resolution photo, {prompt}, crisp, fine detail",
    "Comic book": "comic book drawing, {prompt}, bold ink, flat colours",
    "Lowpoly": "low poly render, {prompt}, faceted, simple shapes",
    "Line art": "line drawing, {prompt}, clean black lines, white paper",
}
StyleName = Literal[
    "(No style)",
    "Cinematic",
    "Disney Charactor",
    "Digital Art",
    "Photographic (Default)",
    "Fantasy art",
    "Neonpunk",
    "Enhance",
    "Comic book",
    "Lowpoly",
    "Line art",
]
DEFAULT_STYLE: StyleName = "Photographic (Default)"
DEFAULT_PROMPT = "A photo of a person img"
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 5.0
DEFAULT_RATIO = 20.0


class PhotoMakerInput(Struct, frozen=True, kw_only=True):
    """The inputs of `tencentarc/photomaker`."""

    input_image: Uri
    input_image2: Uri | None = None
    input_image3: Uri | None = None
    input_image4: Uri | None = None
    prompt: AnyPrompt = DEFAULT_PROMPT
    style_name: Annotated[StyleName, Meta(description="one of " + ", ".join(STYLES))] = DEFAULT_STYLE
    negative_prompt: AnyPrompt = ""
    num_steps: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = DEFAULT_STEPS
    style_strength_ratio: Annotated[float, Meta(ge=15, le=50, description="a number from 15 to 50")] = DEFAULT_RATIO
    num_outputs: Annotated[int, Meta(ge=1, le=4, description="a whole number from 1 to 4")] = 1
    guidance_scale: Annotated[float, Meta(ge=1, le=10, description="a number from 1 to 10")] = DEFAULT_GUIDANCE
    seed: Seed | None = None  # theirs end at 2**31; ours, which answers name, don't
    disable_safety_checker: YesNo = False

    def __repr__(self) -> str:
        return f"PhotoMakerInput(num_outputs={self.num_outputs})"


def translate(given: PhotoMakerInput, bundle: BundleInfo) -> Translated:
    """Raises BadInput."""
    notes: list[str] = []
    if re.search(rf"\b{TRIGGER}\b", given.negative_prompt, re.IGNORECASE):
        raise refuse("negative_prompt", f"The trigger word '{TRIGGER}' has no place in the negative prompt.")
    prompt, subject = place_subject(given.prompt)
    ratio = given.style_strength_ratio
    form = PortraitForm(
        prompt=STYLES[given.style_name].format(prompt=prompt),
        negative_prompt=given.negative_prompt or None,
        subject=subject,
        n=given.num_outputs,
        seed=given.seed,
        adapter=_adapter(bundle, notes),
        sampling=Sampling(
            steps=fit_steps("num_steps", given.num_steps, DEFAULT_STEPS, bundle, notes),
            guidance=fit_guidance("guidance_scale", given.guidance_scale, DEFAULT_GUIDANCE, bundle, notes),
            strength=None if ratio == DEFAULT_RATIO else 1 - ratio / 100,  # identity enters after this share of steps
        ),
        delivery=Delivery(format="png"),
    )
    names = ("input_image", "input_image2", "input_image3", "input_image4")
    selfies = [(name, uri) for name in names if (uri := getattr(given, name)) is not None]
    return Translated(form=form, selfies=selfies, notes=notes)


def _adapter(bundle: BundleInfo, notes: list[str]) -> str:
    warm = [adapter.name for adapter in bundle.adapters]
    name = next((name for name in ADAPTERS if name in warm), ADAPTERS[0])
    if name != ADAPTERS[0]:
        notes.append(f"{ADAPTERS[0]} is not loaded here: made with {name}.")
    return name


def place_subject(prompt: str) -> tuple[str, str]:
    """As everywhere (`class_word`), but for the code. Raises BadInput where the trigger stands more than once."""
    try:
        return class_word.place_subject(prompt)
    except BadRequest as error:
        raise refuse("prompt", error.message) from None
