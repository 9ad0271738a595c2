"""The fields of a Struct as a caller meets them: flat, whatever groups they are declared in.

A field's type carries its rule as the description of its Meta, from which come the check, the refusal, the OpenAPI
document and the command line. A field without one is not a caller's to set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import NODEFAULT, Meta, Struct

PROSE = {"text": "prose"}  # somebody's own words: of several lines, maybe, and never to be quoted
TOKEN = {"text": "token"}  # sealed, long, and never to be quoted either

S = TypeVar("S", bound=Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatField:
    """`group` is the name of the Struct's own field that holds this one. `default` is NODEFAULT for what is needed."""

    name: str
    type: Any
    default: Any
    rule: str
    text: Literal["plain", "prose", "token"]
    words: Mapping[str, str]  # what callers also write, in small letters, and what of the field's own it means
    may_be_empty: bool
    group: str | None

    @property
    def is_needed(self) -> bool:
        return self.default is NODEFAULT


@cache
def flat_fields(struct: type[Struct]) -> Mapping[str, FlatField]:
    """By name, in the order of declaration."""
    found: dict[str, FlatField] = {}
    for name, hint, default in _declared(struct):
        group = _as_group(hint)
        inner = [(name, hint, default)] if group is None else _declared(group)
        fields = [_flat(*one, None if group is None else name) for one in inner]
        found |= {field.name: field for field in fields if field is not None}
    return found


@cache
def flat_struct(struct: type[Struct]) -> type[Struct]:
    """A Struct of the same name that has these fields and no groups, for schemas."""
    fields = [(field.name, field.type, field.default) for field in flat_fields(struct).values()]
    return msgspec.defstruct(struct.__name__, fields, kw_only=True)


def fill(struct: type[S], given: Mapping[str, Any]) -> S:
    """The Struct with these values in their groups."""
    own: dict[str, Any] = {}
    grouped: dict[str, dict[str, Any]] = {}
    for name, value in given.items():
        group = flat_fields(struct)[name].group
        (own if group is None else grouped.setdefault(group, {}))[name] = value
    kinds = _groups(struct)
    return struct(**own, **{group: kinds[group](**values) for group, values in grouped.items()})


@cache  # type hints are evaluated anew each time that they are asked for
def _groups(struct: type[Struct]) -> dict[str, type[Struct]]:
    return {name: group for name, hint, _ in _declared(struct) if (group := _as_group(hint)) is not None}


def _declared(struct: type[Struct]) -> list[tuple[str, Any, Any]]:
    hints = get_type_hints(struct, include_extras=True)
    return [(field.name, hints[field.name], field.default) for field in msgspec.structs.fields(struct)]


def _as_group(hint: Any) -> type[Struct] | None:
    return hint if isinstance(hint, type) and issubclass(hint, Struct) else None


def _flat(name: str, hint: Any, default: Any, group: str | None) -> FlatField | None:
    """None for a field without a rule."""
    metas = [meta for kind in (hint, *get_args(hint)) for meta in getattr(kind, "__metadata__", ())]
    meta = next((meta for meta in metas if isinstance(meta, Meta) and meta.description), None)
    if meta is None or meta.description is None:
        return None
    extra: dict[str, Any] = meta.extra or {}
    return FlatField(
        name=name,
        type=hint,
        default=default,
        rule=meta.description,
        text=extra.get("text", "plain"),
        words=extra.get("words", {}),
        may_be_empty=_takes("", hint),
        group=group,
    )


def _takes(value: Any, hint: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True
