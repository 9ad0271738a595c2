"""What a caller may say of a picture, in groups that go unchanged from the form to the adapter.

A field is declared once, here: its type, its bounds and the sentence about it, from which come the check, the refusal
and the schema. A field without a description is the service's to set, never a caller's.
"""

from typing import Annotated, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

G = TypeVar("G", bound=Struct)

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"

SIZE = r"[1-9][0-9]{1,4}x[1-9][0-9]{1,4}"
SizeText = Annotated[str, Meta(pattern=f"^{SIZE}$", description="width x height in pixels, such as 1024x1024")]
Steps = Annotated[int, Meta(ge=1, le=50, description="a whole number from 1 to 50")]
SamplerName = Annotated[str, Meta(pattern=NAME, description="the name of a sampler")]
Guidance = Annotated[
    float, Meta(ge=0, le=20, description="a number from 0 to 20; 0 and 1 both mean no guidance, the fastest")
]
Gamma = Annotated[
    float,
    Meta(ge=0, le=1, description="a number from 0 to 1: how much noise the sampler tcd draws anew at each step"),
]
Strength = Annotated[
    float, Meta(ge=0, le=1, description="a number from 0 (any face) to 1 (as much like the selfie as can be)")
]
LoraName = Annotated[str, Meta(pattern=NAME, description="the name of a style LoRA")]
LoraScale = Annotated[
    float, Meta(ge=-2, le=2, description="a number from -2 to 2 (0 is without it; below, its opposite)")
]

SeveralFaces = Literal["largest", "refuse"]  # in one selfie: take the largest, or refuse the photo
Disagreeing = Literal["warn", "refuse"]  # selfies that seem to be of several people: say so, or refuse the job

Framing = Literal["selfie", "front", "slight-left", "slight-right", "closer", "wider"]  # left and right of the picture
Region = Literal["picture", "face"]
ChosenFraming = Annotated[
    Framing,
    Meta(description="front, slight-left, slight-right (as the picture shows it), closer, wider, or selfie (as there)"),
]
ChosenRegion = Annotated[
    Region, Meta(description="picture, or face (the identity acts inside the face's box, the prompt rules the rest)")
]
ControlStrength = Annotated[
    float, Meta(ge=0, le=1, description="a number from 0 to 1: how firmly the face is held in its place")
]

ImageFormat = Literal["jpeg", "webp", "png"]
FORMAT_WORDS: dict[str, ImageFormat] = {"jpg": "jpeg", "image/jpg": "jpeg"}  # in small letters, as all that follow
FORMAT_WORDS |= {word: name for name in get_args(ImageFormat) for word in (name, f"image/{name}")}
ChosenFormat = Annotated[ImageFormat, Meta(description="jpeg, webp or png", extra={"words": FORMAT_WORDS})]
Quality = Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100 (PNG ignores it)")]
Previews = Annotated[bool, Meta(description="true or false")]


class Sampling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a picture is computed. None is as the style or else the bundle has it, and no LoRA.

    `guidance` above 1 makes every step twice as long. `gamma` is TCD's stochasticity (arXiv 2402.19159, section 3.2).
    `strength` is 0 (no identity) to 1 (from the first step on).
    `lora` is one of the bundle's style LoRAs; `lora_scale` None is its own.
    """

    size: SizeText | None = None
    steps: Steps | None = None
    sampler: SamplerName | None = None
    guidance: Guidance | None = None
    gamma: Gamma | None = None
    strength: Strength | None = None
    lora: LoraName | None = None
    lora_scale: LoraScale | None = None


class Placing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the face goes, for adapters that can be told (`takes_pose`): as in the photo of a pose, or else by framing.

    `framing` "selfie" copies the first selfie; None is the bundle's. `control_strength` is the keypoint network's own
    strength (None: as `strength`), `control_window` the share of the steps in which it acts. With `region` "face" the
    identity acts inside the face's box alone; None is the whole picture.
    """

    framing: ChosenFraming | None = None
    control_strength: ControlStrength | None = None
    region: ChosenRegion | None = None
    control_window: tuple[float, float] = (0.0, 1.0)


class Delivery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How pictures leave. `mark` is written across every one of them, `longest_side` (pixels) shrinks it."""

    format: ChosenFormat = "jpeg"
    quality: Quality = 90
    previews: Previews = False
    mark: str | None = None
    longest_side: int | None = None


def merge(said: Struct, default: G) -> G:
    """`default` with all of its fields that `said` has too and does not leave open as None."""
    given = {name: value for name in default.__struct_fields__ if (value := getattr(said, name, None)) is not None}
    return msgspec.structs.replace(default, **given)


def sides(size: str) -> tuple[int, int]:
    """Width and height in pixels of a SizeText."""
    width, _, height = size.partition("x")
    return int(width), int(height)


def size_text(size: tuple[int, int]) -> str:
    """A width and a height as a SizeText."""
    return f"{size[0]}x{size[1]}"
