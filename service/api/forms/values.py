"""Values by name -> a Struct, or a sentence about the first that is wrong.

Strictly: an unknown, empty or wrong field is refused by name, never guessed at.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from service.api.body.expected import FileField
from service.api.forms.fields import FlatField, fill, flat_fields
from service.api.forms.near_names import near_name
from service.errors import BadRequest
from service.jobs.sealing import MAX_TOKEN_CHARS

MAX_ECHO = 24  # a wrong value comes back in its refusal if it is no longer than this
LONGEST_TEXT = MAX_TOKEN_CHARS  # what is longer is a picture, whose characters are checked when it is decoded
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
CONTROL_IN_PROSE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # which may have lines and tabs

HOW_TO_SEND = "with curl, -F image=@selfie.jpg sends a file, and JSON takes base64 or a data: URL"

S = TypeVar("S", bound=Struct)


def read_fields(
    struct: type[S],
    values: Mapping[str, Any],
    *,
    from_text: bool = False,
    otherwise: Mapping[str, Any] | None = None,
    files: Sequence[FileField] = (),
) -> S:
    """`values` as a `struct`; None counts as left out. With `from_text`, numbers and yes/no are read from text.

    `otherwise` has what stands for a field that is left out, in place of its default. Raises BadRequest with the
    field's name in `extra`.
    """
    fields = flat_fields(struct)
    given = dict(otherwise or {})
    for name, value in values.items():
        if name not in fields:
            raise unknown_field(name, fields, files)
        if value is not None:
            given[name] = read_value(fields[name], value, from_text=from_text)
    for field in fields.values():
        if field.is_needed and field.name not in given:
            message = f"The field '{field.name}' is missing: give {field.rule}."
            raise BadRequest.of_field("field_missing", field.name, message)
    return fill(struct, given)


def read_value(field: FlatField, value: Any, *, from_text: bool = False) -> Any:
    """One value of the field's own type. Text that would leave the field unset is no value. Raises BadRequest."""
    if isinstance(value, str):
        value = value.strip() if field.text == "token" else value  # a token read from a file ends with its line
        value = field.words.get(value.lower(), value) if field.words else value
        if not field.may_be_empty and not value.strip():
            leave = "" if field.is_needed else ", or leave it out"
            raise _invalid(field, f"is empty: give {field.rule}{leave}")
        if not is_clean(field, value):
            raise _invalid(field, f"has control characters in it: it must be {field.rule}")
    try:
        read = msgspec.convert(value, field.type, strict=not from_text)
    except (msgspec.ValidationError, OverflowError):
        read = None
    if read is None and isinstance(value, float) and value.is_integer():  # JSON has one kind of number
        return read_value(field, int(value))
    if read is None:
        is_quoted = not from_text and isinstance(value, str) and _takes_text(field, value)
        quotes = " in quotes, and JSON writes it without" if is_quoted else ""
        raise _invalid(field, f"{told(field, value)}{quotes}: it must be {field.rule}")
    return read


def _takes_text(field: FlatField, text: str) -> bool:
    try:
        read_value(field, text, from_text=True)
    except BadRequest:
        return False
    return True


def unknown_field(name: str, known: Iterable[str], files: Sequence[FileField] = ()) -> BadRequest:
    """A misspelt field is refused and the nearest one named: silently ignored, it would be a wrong portrait."""
    if (file := next((file for file in files if name in file.names), None)) is not None:
        message = (
            f"'{name}' is a photo, which a query and a form without files can't hold; {HOW_TO_SEND}{file.advice or '.'}"
        )
        return BadRequest.of_field("unknown_field", name, message)
    near = near_name(name, [*(file.name for file in files), *known])
    listed = [f"{file.name}, {file.purpose}" for file in files]
    every = f"{', '.join(listed)}, and {', '.join(known)}" if listed else ", ".join(known)
    hint = f"did you mean '{near}'?" if near else f"known are {every}."
    return BadRequest.of_field("unknown_field", name, f"There is no field called {quoted(name)}: {hint}")


def is_clean(field: FlatField, text: str) -> bool:
    """No control characters; only prose may have lines."""
    barred = CONTROL_IN_PROSE if field.text == "prose" else CONTROL
    return len(text) > LONGEST_TEXT or barred.search(text) is None


def told(field: FlatField, value: Any) -> str:
    """What came, without quoting a person's words."""
    if isinstance(value, str):
        return f"is {quoted(value)}" if field.text == "plain" else f"has {len(value)} characters"
    if isinstance(value, bool | int | float) and field.text == "plain":
        return f"is {quoted(str(value).lower())}"
    return "is an object" if isinstance(value, dict) else "is a list" if isinstance(value, list) else "is no text"


def quoted(text: str) -> str:
    """Short and printable, or only described: a refusal is no mirror."""
    if len(text) <= MAX_ECHO and text.isprintable():
        return f"'{text}'"
    return f"something of {len(text)} characters"


def _invalid(field: FlatField, what: str) -> BadRequest:
    return BadRequest.of_field("invalid_field", field.name, f"The field '{field.name}' {what}.")
