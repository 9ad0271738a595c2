"""The fields of an images request: OpenAI's own, and ours where OpenAI has no word for it.

    OpenAI's              ours
    prompt                prompt; may be empty where a style is named
    n                     n
    size                  size: the one the bundle makes whose shape is nearest; the answer states it
    quality               steps: a share of the bundle's own (STEPS)
    output_format         format
    output_compression    quality
    input_fidelity        strength: "high" is 1, "low" is the bundle's own
    model                 the bundle, or one of its adapters; OpenAI's own names (OPENAI_MODEL) are the bundle
    style                 ours, but for dall-e-3's vivid and natural, which say nothing here
    partial_images        previews

The others of `PortraitForm` keep their names and come through `extra_body`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from models.wire.bundle_info import BundleInfo
from models.wire.groups import FORMAT_WORDS, SIZE, Delivery, ImageFormat
from service.api.forms.fields import flat_fields
from service.api.forms.portrait import AnyPrompt, PortraitForm
from service.api.forms.values import read_fields, unknown_field
from service.api.sizes import nearest_size
from service.errors import BadRequest, NotFound

Quality = Literal["low", "medium", "high", "xhigh", "max"]
STEPS: dict[str, float] = {"low": 0.5, "medium": 1.0, "high": 2.0, "xhigh": 3.0, "max": 4.0}
OPENAI_MODEL = re.compile(r"(gpt-image|chatgpt-image|dall-e)-[a-z0-9.-]+", re.IGNORECASE)
DALL_E_STYLES = ("vivid", "natural")
RENAMED = frozenset({"prompt", "n", "size", "quality", "format", "previews"})
OWN = tuple(name for name in flat_fields(PortraitForm) if name not in RENAMED)

Name = Annotated[str, Meta(min_length=1, max_length=128, description="a name from GET /v1/models")]
Label = Annotated[str, Meta(max_length=512, description="a text of at most 512 characters (not read here)")]
Size = Annotated[
    str,
    Meta(pattern=f"^(auto|{SIZE})$", description="auto, or width x height as in 1024x1024"),
]


class ImagesFields(Struct, frozen=True, kw_only=True):
    """OpenAI's fields. None and the defaults are OpenAI's: PNG, one image, no stream."""

    prompt: AnyPrompt
    model: Name | None = None
    n: Annotated[int, Meta(ge=1, le=10, description="a whole number from 1 to 10 (of portraits)")] = 1
    size: Size = "auto"
    quality: Annotated[
        Literal["auto", "standard", "hd", "low", "medium", "high", "xhigh", "max"],
        Meta(description="auto, low, medium, high, xhigh or max (or dall-e-3's standard and hd)"),
    ] = "auto"
    output_format: Annotated[ImageFormat, Meta(description="png, webp or jpeg", extra={"words": FORMAT_WORDS})] = "png"
    output_compression: Annotated[int, Meta(ge=0, le=100, description="a whole number from 0 to 100")] = 100
    background: Annotated[
        Literal["auto", "opaque"], Meta(description="auto or opaque: a portrait has a background of its own")
    ] = "auto"
    input_fidelity: Annotated[Literal["high", "low"], Meta(description="high or low")] | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3, description="a whole number from 0 to 3")] = 0
    stream: Annotated[bool, Meta(description="true or false")] = False
    response_format: (
        Annotated[
            Literal["b64_json", "url"],
            Meta(description="b64_json or url (a data: URL); left out, as `model` has it at OpenAI: url for dall-e"),
        ]
        | None
    ) = None
    moderation: Annotated[Literal["auto", "low"], Meta(description="auto or low (not read here)")] = "auto"
    user: Label | None = None
    safety_identifier: Label | None = None

    def __repr__(self) -> str:
        return f"ImagesFields(n={self.n})"

    @property
    def delivery(self) -> Delivery:
        return Delivery(
            format=self.output_format, quality=max(self.output_compression, 1), previews=self.partial_images > 0
        )

    @property
    def wants_url(self) -> bool:
        """As asked for, or as that model answers at OpenAI."""
        of_dall_e = self.model is not None and self.model.lower().startswith("dall-e")
        return self.response_format == "url" or (self.response_format is None and of_dall_e)


THEIRS = tuple(flat_fields(ImagesFields))
REFUSED = {
    "mask": "A mask has no place here: the portrait is drawn anew, and nothing of the selfie's pixels is kept.",
    "markup": "Markup is not read here: say it in the prompt.",
    "svg": "Portraits are pixels: png, webp or jpeg.",
    "frame_count": "Portraits don't move: leave out frame_count.",
    "frame_duration_ms": "Portraits don't move: leave out frame_duration_ms.",
    "complexity": "There is no planning to be steered: leave out complexity, and use quality for more steps.",
    "file_id": "No files are kept here: send the picture itself.",
    "url": "Addresses are not fetched here: send the picture's bytes as 'image'.",
}


class ImagesRequest(Struct, frozen=True, kw_only=True):
    """A checked request: OpenAI's part, and ours as given."""

    theirs: ImagesFields
    ours: PortraitForm

    def __repr__(self) -> str:
        return f"ImagesRequest(n={self.theirs.n})"

    def form(self, bundle: BundleInfo, *, openai_models: bool = False) -> PortraitForm:
        """What a job is made of; with `openai_models` OpenAI's names are taken. Raises NotFound for other models."""
        theirs, ours = self.theirs, self.ours
        return msgspec.structs.replace(
            ours,
            prompt=theirs.prompt.strip() or None,
            n=theirs.n,
            adapter=ours.adapter or adapter_of(theirs.model, bundle, openai_models=openai_models),
            sampling=msgspec.structs.replace(
                ours.sampling,
                size=None if theirs.size == "auto" else nearest_size(theirs.size, bundle.sizes),
                steps=steps_of(self.quality, bundle) if ours.sampling.steps is None else ours.sampling.steps,
                strength=strength_of(theirs) if ours.sampling.strength is None else ours.sampling.strength,
            ),
            delivery=theirs.delivery,
        )

    @property
    def quality(self) -> Quality:
        """The tier by its name in answers, which know no auto."""
        told = self.theirs.quality
        return "medium" if told in ("auto", "standard") else "high" if told == "hd" else told


def refuse_unknown(name: str) -> None:
    """Raises BadRequest for a field that is neither OpenAI's nor ours."""
    if name in REFUSED or name.startswith("svg["):
        raise BadRequest.of_field("unsupported_field", name, REFUSED.get(name, REFUSED["svg"]))
    if name not in THEIRS and name not in OWN:
        raise unknown_field(name, (*THEIRS, *OWN))


def read_images_request(values: Mapping[str, Any], *, from_text: bool) -> ImagesRequest:
    """Raises BadRequest for the first wrong field. `from_text`: a multipart form's, where all is text."""
    for name in values:
        refuse_unknown(name)
    _refuse_other_kinds(values)
    values = _without_dall_e_style(values)
    theirs = read_fields(ImagesFields, {name: v for name, v in values.items() if name in THEIRS}, from_text=from_text)
    ours = PortraitForm.read({name: v for name, v in values.items() if name in OWN}, from_text=from_text)
    if theirs.prompt.strip() and ours.style is not None:
        message = "Both 'style' and 'prompt' are given: a style is a ready-made prompt, so leave the prompt empty."
        raise BadRequest.of_field("style_and_prompt", "style", message)
    if not theirs.prompt.strip() and ours.style is None:
        raise BadRequest.of_field(
            "field_missing", "prompt", "The prompt is empty: say what to draw, or name a 'style'."
        )
    if theirs.output_format == "png" and theirs.output_compression != 100:
        message = "A PNG is not compressed with loss: leave out output_compression, or ask for webp or jpeg."
        raise BadRequest.of_field("compression_of_png", "output_compression", message)
    if theirs.partial_images and not theirs.stream:
        raise BadRequest.of_field(
            "partials_need_stream", "partial_images", "Partial images come in a stream: send stream=true."
        )
    return ImagesRequest(theirs=theirs, ours=ours)


def _without_dall_e_style(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """dall-e-3's `style` says how lively a picture is, which the prompt says here; no style of ours has its names."""
    foreign = is_openai_model(values.get("model")) and values.get("style") in DALL_E_STYLES
    return {name: value for name, value in values.items() if name != "style"} if foreign else values


def is_openai_model(name: object) -> bool:
    return isinstance(name, str) and OPENAI_MODEL.fullmatch(name) is not None


def _refuse_other_kinds(values: Mapping[str, Any]) -> None:
    if values.get("background") == "transparent":
        message = "A portrait has a background of its own: transparent can't be had. Leave it out, or say opaque."
        raise BadRequest.of_field("background_unsupported", "background", message)
    if values.get("output_format") in ("gif", "svg"):
        raise BadRequest.of_field("format_unsupported", "output_format", "Portraits are png, webp or jpeg.")


def steps_of(quality: Quality, bundle: BundleInfo) -> int | None:
    """None, the bundle's own, for medium."""
    if quality == "medium":
        return None
    return min(max(1, round(STEPS[quality] * bundle.default_steps)), bundle.max_steps)


def strength_of(theirs: ImagesFields) -> float | None:
    """None, the bundle's own, unless they ask for high fidelity."""
    return 1.0 if theirs.input_fidelity == "high" else None


def adapter_of(model: str | None, bundle: BundleInfo, *, openai_models: bool = False) -> str | None:
    """The adapter that `model` names; None is the bundle's own. Raises NotFound as OpenAI does."""
    names = [adapter.name for adapter in bundle.adapters]
    if model in names:
        return model
    if model is None or model == bundle.name or (openai_models and is_openai_model(model)):
        return None
    raise NotFound(
        "model_not_found",
        f"There is no model of that name here: choose {', '.join([bundle.name, *names])}, or leave it out.",
        extra={"field": "model", "allowed": [bundle.name, *names]},
    )


def no_selfie() -> BadRequest:
    """Why text alone makes no portrait."""
    return BadRequest(
        "selfie_needed",
        "A portrait is of somebody, and a prompt does not say of whom: send a selfie to /v1/images/edits, or an "
        "'identity' from POST /v1/identities (in the openai client: extra_body={'identity': ...}).",
        extra={"field": "image"},
    )
