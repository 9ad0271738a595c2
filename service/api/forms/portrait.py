"""The form of POST /v1/portraits, and the types of what it asks."""

from typing import Annotated, ClassVar

from msgspec import Meta

from models.wire.groups import NAME, Delivery, Disagreeing, Placing, Sampling, SeveralFaces
from service.api.body.expected import FileField
from service.api.forms.fields import PROSE, TOKEN
from service.api.forms.form import NO_SELFIE, POSE, SELFIES, Form
from service.api.forms.terms import CallerTerms
from service.errors import BadRequest
from service.jobs.sealing import MAX_TOKEN_CHARS

MAX_PROMPT_LENGTH = 2000  # a text encoder reads about 300 letters at a time
MAX_SEED = 2**32 - 1  # exact in JSON and JavaScript, and what other tools for these models take

Style = Annotated[str, Meta(pattern=NAME, description="the name of a style in the catalogue")]
Prompt = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_PROMPT_LENGTH,
        description=f"a text of 1 to {MAX_PROMPT_LENGTH} characters",
        extra=PROSE,
    ),
]
AnyPrompt = Annotated[  # which may be empty
    str,
    Meta(max_length=MAX_PROMPT_LENGTH, description=f"a text of at most {MAX_PROMPT_LENGTH} characters", extra=PROSE),
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
IdentityToken = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TOKEN_CHARS,
        description="an identity token of POST /v1/identities; it takes the place of the selfies",
        extra=TOKEN,
    ),
]
Several = Annotated[SeveralFaces, Meta(description="largest (take the largest face) or refuse (refuse the photo)")]
SeveralPeople = Annotated[
    Disagreeing,
    Meta(description="warn (use selfies that seem to be of several people, and say so) or refuse (refuse the job)"),
]


class PortraitForm(Form, frozen=True, kw_only=True):
    """The fields of POST /v1/portraits. None means: as the style or the bundle says."""

    photos: ClassVar[tuple[FileField, ...]] = (SELFIES, POSE)

    style: Style | None = None
    prompt: Prompt | None = None
    negative_prompt: AnyPrompt | None = None
    subject: Subject = "person"
    n: Count = 1
    seed: Seed | None = None
    adapter: Adapter | None = None
    sampling: Sampling = Sampling()
    placing: Placing = Placing()
    delivery: Delivery = Delivery()
    terms: CallerTerms = CallerTerms()
    several_faces: Several = "largest"
    disagreeing: SeveralPeople = "warn"
    identity: IdentityToken | None = None

    def __repr__(self) -> str:
        return f"PortraitForm(n={self.n})"

    def refuse_conflicts(self) -> None:
        """Two prompts, or a scale of nothing."""
        if self.style is not None and self.prompt is not None:
            message = "Both 'style' and 'prompt' are given: a style is a ready-made prompt, so send one of the two."
            raise BadRequest.of_field("style_and_prompt", "style", message)
        if self.sampling.lora_scale is not None and self.sampling.lora is None:
            message = "There is a 'lora_scale' but no 'lora' that it could scale."
            raise BadRequest.of_field("lora_missing", "lora", message)

    def refuse_selfies(self, count: int) -> None:
        """Selfies or an identity, one of the two."""
        if self.identity is None and not count:
            raise BadRequest.of_field("image_missing", SELFIES.name, NO_SELFIE)
        if self.identity is not None and count:
            message = "Both selfies and an 'identity' are given: it takes their place, so send one of the two."
            raise BadRequest.of_field("identity_and_image", "identity", message)
