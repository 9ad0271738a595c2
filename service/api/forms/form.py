"""What every form of ours has in common."""

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self, get_args

from msgspec import Struct

from models.wire.groups import Framing
from service.api.body.expected import Expected, FileField, Kind
from service.api.forms.fields import flat_fields
from service.api.forms.values import read_fields, unknown_field

SELFIES = FileField(name="image", other_names=("image[]",), purpose="for the selfies", several=True)
TO_FRAME = f"; for {', '.join(get_args(Framing))} the field is 'framing'."
POSE = FileField(name="pose", purpose="for a pose photo", words=get_args(Framing), advice=TO_FRAME)
NO_SELFIE = "There is no selfie: send one to eight files named 'image'."


class Form(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller says of one job. The first of `photos` may also be the whole body."""

    photos: ClassVar[tuple[FileField, ...]] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any], *, from_text: bool, otherwise: Mapping[str, Any] | None = None) -> Self:
        """As `read_fields`. Raises BadRequest."""
        for name in values:
            cls.refuse_unknown(name)
        form = read_fields(cls, values, from_text=from_text, otherwise=otherwise)
        form.refuse_conflicts()
        return form

    @classmethod
    def refuse_unknown(cls, name: str) -> None:
        """Raises BadRequest for a text that is no field of this form."""
        if name not in flat_fields(cls):
            raise unknown_field(name, flat_fields(cls), cls.photos)

    def refuse_conflicts(self) -> None:
        """What no field says alone. Raises BadRequest."""

    def refuse_selfies(self, count: int) -> None:
        """Too few or too many, by what the form says. Raises BadRequest."""


@cache
def expected_of(form: type[Form]) -> Expected:
    """The body that brings this form."""
    kinds: tuple[Kind, ...] = ("multipart", "urlencoded", "json")
    return Expected(
        kinds=("picture", *kinds) if form.photos else kinds,
        refuse_unknown=form.refuse_unknown,
        files=form.photos,
        long_fields=long_fields(form),
        blank_fields=blank_fields(form),
        has_inline_pictures=bool(form.photos),
    )


def long_fields(*structs: type[Struct]) -> tuple[str, ...]:
    """The names of those that hold tokens."""
    return tuple(field.name for struct in structs for field in flat_fields(struct).values() if field.text == "token")


def blank_fields(*structs: type[Struct]) -> tuple[str, ...]:
    """The names of those of which an empty text says something."""
    return tuple(field.name for struct in structs for field in flat_fields(struct).values() if field.may_be_empty)
