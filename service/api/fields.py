"""Values by name -> a typed Struct, or a sentence about the first that is wrong.

For the surfaces whose wire formats others have set. A Struct's fields carry their rule as the description of their
Meta, so that the sentence, the OpenAPI document and the check can't drift apart.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Struct

from service.api.portrait_form import TEXTS, is_clean, quoted
from service.errors import BadRequest, ServiceError

LONGEST_WORDS = 10_000  # what is longer is no text but a picture, whose characters are checked when it is decoded

S = TypeVar("S", bound=Struct)


def read_fields(struct: type[S], values: Mapping[str, Any], *, from_text: bool = False) -> S:
    """`values` as a `struct`; None counts as left out. With `from_text`, numbers and yes/no are read from text.

    Raises BadRequest with the field's name in `extra`.
    """
    hints = _hints_of(struct)
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise unknown_field(name, hints)
        if value is not None:
            given[name] = read_one(name, value, hints[name], strict=not from_text)
    missing = [field.name for field in msgspec.structs.fields(struct) if field.required and field.name not in given]
    if missing:
        raise field_problem(
            "field_missing", missing[0], f"The field '{missing[0]}' is missing: {rule(hints[missing[0]])}."
        )
    return struct(**given)


@cache
def _hints_of(struct: type[Struct]) -> dict[str, Any]:
    return get_type_hints(struct, include_extras=True)


def read_one(name: str, value: Any, hint: Any, *, strict: bool = True) -> Any:
    """One value of the hinted type. Raises BadRequest."""
    try:
        read = msgspec.convert(value, hint, strict=strict)
    except (msgspec.ValidationError, OverflowError):
        read = None
    if read is None:
        raise field_problem(
            "invalid_field", name, f"The field '{name}' is {_found(name, value)}: it must be {rule(hint)}."
        )
    if isinstance(read, str) and len(read) <= LONGEST_WORDS and not is_clean(name, read):
        message = f"The field '{name}' has control characters in it: it must be {rule(hint)}."
        raise field_problem("invalid_field", name, message)
    return read


def unknown_field(name: str, known: Iterable[str]) -> BadRequest:
    near = difflib.get_close_matches(name[:64].lower(), list(known), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}."
    return field_problem("unknown_field", name, f"There is no field called {quoted(name)}: {hint}")


def field_problem(code: str, name: str, message: str, kind: type[ServiceError] = BadRequest) -> Any:
    return kind(code, message, extra={"field": name[:64]})


def rule(hint: Any) -> str:
    """The description in the type, or what JSON calls it."""
    kinds = (hint, *get_args(hint))
    metas = (meta for kind in kinds for meta in getattr(kind, "__metadata__", ()))
    return next((meta.description for meta in metas if meta.description), "of another kind")


def _found(name: str, value: Any) -> str:
    """What came, without quoting a person's words."""
    if isinstance(value, str):
        return f"a text of {len(value)} characters" if name in TEXTS else quoted(value)
    if isinstance(value, bool | int | float):
        return quoted(str(value).lower())
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "of another kind"
