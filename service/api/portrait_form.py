"""What a caller may ask for in a POST of portraits: text fields -> a typed form.

Fields come from a query string or from multipart parts and are text either way, so numbers and yes/no are read from
text. Strictly: an unknown, repeated, empty or wrong field is refused by name, never guessed at.
"""

import difflib
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from models.wire.groups import (
    NAME,
    ChosenFormat,
    ChosenFraming,
    ChosenRegion,
    ControlStrength,
    Guidance,
    LoraName,
    LoraScale,
    Previews,
    Quality,
    SamplerName,
    SizeText,
    Steps,
    Strength,
)
from models.wire.messages import SeveralFaces
from service.errors import BadRequest
from service.jobs.sealing import MAX_TOKEN_CHARS
from service.jobs.terms import OnDisconnect

MAX_PROMPT_LENGTH = 2000  # a text encoder reads about 300 letters at a time
MAX_SEED = 2**32 - 1  # exact in JSON and JavaScript, and what other tools for these models take
MAX_ECHO = 24  # a wrong value comes back in its refusal if it is no longer than this
IMAGE_FIELDS = ("image", "image[]")
POSE_FIELD = "pose"
FILE_FIELDS = (*IMAGE_FIELDS, POSE_FIELD)
TEXTS = ("prompt", "negative_prompt")  # personal: their values come back never
TOKENS = ("identity", "proof")  # long, and nor do theirs

Style = Annotated[str, Meta(pattern=NAME, description="the name of a style in the catalogue")]
Prompt = Annotated[
    str, Meta(min_length=1, max_length=MAX_PROMPT_LENGTH, description=f"a text of 1 to {MAX_PROMPT_LENGTH} characters")
]
NegativePrompt = Annotated[
    str, Meta(max_length=MAX_PROMPT_LENGTH, description=f"a text of at most {MAX_PROMPT_LENGTH} characters")
]
Subject = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z][A-Za-z -]{0,31}$",
        description="a short English word for who is in the selfie: man, woman, person, ...",
    ),
]
Count = Annotated[int, Meta(ge=1, le=8, description="a whole number from 1 to 8 (of portraits)")]
Seed = Annotated[int, Meta(ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}")]
Adapter = Annotated[str, Meta(pattern=NAME, description="the name of an adapter")]
Deadline = Annotated[
    float, Meta(ge=0.1, le=600, description="a number of seconds from 0.1 to 600, for the whole answer")
]
OnLeaving = Annotated[
    OnDisconnect,
    Meta(description="cancel (stop when the client leaves) or finish (go on; fetch the result as a job)"),
]
IdentityToken = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TOKEN_CHARS,
        description="an identity token of POST /v1/identities; it takes the place of the selfies",
    ),
]
ProofToken = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_TOKEN_CHARS, description="the proof token that came with a picture"),
]
Several = Annotated[SeveralFaces, Meta(description="largest (take the largest face) or refuse (refuse the photo)")]


HookTarget = Annotated[
    str,
    Meta(
        pattern="^https?://",
        max_length=2000,
        description="a public https address that is told of the job's end (signed)",
    ),
]


class PortraitForm(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of POST /v1/portraits. None means: as the style or the bundle says."""

    style: Style | None = None
    prompt: Prompt | None = None
    negative_prompt: NegativePrompt | None = None
    subject: Subject = "person"
    n: Count = 1
    size: SizeText | None = None
    seed: Seed | None = None
    steps: Steps | None = None
    sampler: SamplerName | None = None
    guidance: Guidance | None = None
    adapter: Adapter | None = None
    strength: Strength | None = None
    framing: ChosenFraming | None = None
    control_strength: ControlStrength | None = None
    region: ChosenRegion | None = None
    lora: LoraName | None = None
    lora_scale: LoraScale | None = None
    format: ChosenFormat = "jpeg"
    quality: Quality = 90
    deadline: Deadline | None = None
    on_disconnect: OnLeaving | None = None
    webhook: HookTarget | None = None
    previews: Previews = False
    several_faces: Several = "largest"
    identity: IdentityToken | None = None

    def __repr__(self) -> str:
        return f"PortraitForm(n={self.n})"


FIELDS = PortraitForm.__struct_fields__
_TYPES = get_type_hints(PortraitForm, include_extras=True)


def parse_form(fields: list[tuple[str, str]]) -> PortraitForm:
    """Raises BadRequest for the first field that is wrong, with its name in `extra`."""
    values: dict[str, Any] = {}
    for name, text in fields:
        check_known(name)
        if name in values:
            raise field_error("duplicate_field", name, f"The field '{name}' is there more than once.")
        values[name] = read_value(name, text)
    form = PortraitForm(**values)
    check_together(form)
    return form


def check_together(form: PortraitForm) -> None:
    """What no field says alone. Raises BadRequest."""
    if form.style is not None and form.prompt is not None:
        message = "Both 'style' and 'prompt' are given: a style is a ready-made prompt, so send one of the two."
        raise field_error("style_and_prompt", "style", message)
    if form.lora_scale is not None and form.lora is None:
        raise field_error("lora_missing", "lora", "There is a 'lora_scale' but no 'lora' that it could scale.")


def check_known(name: str) -> None:
    """A misspelt field is refused and the nearest one named: silently ignored, it would be a wrong portrait."""
    if name in FIELDS:
        return
    if name in FILE_FIELDS:
        raise field_error("unknown_field", name, "A photo can't be a text or an address: send its bytes in the body.")
    near = difflib.get_close_matches(name[:64].lower(), FIELDS, n=1)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"known are image, for the selfies, pose, for a pose photo, and {', '.join(FIELDS)}."
    )
    raise field_error("unknown_field", name, f"There is no field called {quoted(name)}: {hint}")


def read_value(name: str, text: str) -> Any:
    """One value of the field's own type. Text that would leave the field unset is no value."""
    text = text.strip() if name in TOKENS else text  # a token read from a file ends with its line
    if not text.strip() and name != "negative_prompt":
        raise field_error("invalid_field", name, f"The field '{name}' is empty: give {rule(name)}, or leave it out.")
    try:
        value = msgspec.convert(text, _TYPES[name], strict=False)
    except msgspec.ValidationError:
        value = None
    if value is None or not is_clean(name, text):
        raise field_error("invalid_field", name, f"{found(name, text)}: it must be {rule(name)}.")
    return value


def is_clean(name: str, text: str) -> bool:
    """No control characters; only texts may have lines."""
    lines = text.replace("\n", "").replace("\r", "").replace("\t", "") if name in TEXTS else text
    return all(" " <= character != "\x7f" for character in lines)


def found(name: str, text: str) -> str:
    if name in (*TEXTS, *TOKENS):
        problem = f"has {len(text)} characters" if is_clean(name, text) else "has control characters in it"
        return f"The field '{name}' {problem}"
    return f"The field '{name}' is {quoted(text)}"


def quoted(text: str) -> str:
    """Short and printable, or only described: a refusal is no mirror."""
    if len(text) <= MAX_ECHO and text.isprintable():
        return f"'{text}'"
    return f"something of {len(text)} characters"


def rule(name: str) -> str:
    """The description in the field's type."""
    kinds = (_TYPES[name], *get_args(_TYPES[name]))
    metas = (meta for kind in kinds for meta in getattr(kind, "__metadata__", ()))
    return next(meta.description for meta in metas)


def field_error(code: str, name: str, message: str) -> BadRequest:
    return BadRequest(code, message, extra={"field": name[:64]})
