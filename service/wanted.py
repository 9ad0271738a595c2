"""What a declared type wants of a value, in words for an operator."""

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta

WORDS = {int: "int, a whole number", float: "float, a number", bool: "bool, true or false", str: "a text"}


def wanted(hint: Any) -> str:
    """Of a type with its bounds: "int, a whole number >= 0 and <= 65535", or "one of off, blocks, full"."""
    if get_origin(hint) is Annotated:
        inner, *extras = get_args(hint)
        metas = [extra for extra in extras if isinstance(extra, Meta)]
        pattern = next((meta.description for meta in metas if meta.pattern and meta.description), None)
        return pattern or wanted(inner) + "".join(_bounds(meta) for meta in metas)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(wanted(one) for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) is tuple:
        return "a list with commas"
    return WORDS.get(hint, str(hint))


def _bounds(meta: Meta) -> str:
    """Begins with a space; empty where there are none."""
    signs = (("length >=", meta.min_length), ("length <=", meta.max_length), (">=", meta.ge), (">", meta.gt))
    parts = [f" {sign} {bound:g}" for sign, bound in (*signs, ("<=", meta.le)) if bound is not None]
    return " and".join(parts) + ("" if meta.multiple_of is None else f", a multiple of {meta.multiple_of:g}")
