"""The form of POST /v1/finals."""

from typing import Annotated

from msgspec import Meta

from models.wire.groups import Delivery, SizeText
from service.api.forms.fields import TOKEN
from service.api.forms.form import POSE, SELFIES, Form
from service.api.forms.terms import CallerTerms
from service.errors import BadRequest
from service.jobs.sealing import MAX_TOKEN_CHARS

ProofToken = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_TOKEN_CHARS,
        description="the proof token that came with a picture",
        extra=TOKEN,
    ),
]


class FinalForm(Form, frozen=True, kw_only=True):
    """What may be said of a final; everything else is in its proof."""

    proof: ProofToken
    size: SizeText | None = None
    delivery: Delivery = Delivery()
    terms: CallerTerms = CallerTerms()

    def __repr__(self) -> str:
        return "FinalForm()"

    @classmethod
    def refuse_unknown(cls, name: str) -> None:
        """A photo is told apart from a field that nobody knows."""
        if name in (*SELFIES.names, *POSE.names):
            raise BadRequest.of_field("unknown_field", name, "No photo is taken here: leave it out.")
        super().refuse_unknown(name)
