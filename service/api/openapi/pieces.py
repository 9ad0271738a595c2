"""JSON schemas and small pieces of an OpenAPI document, made of msgspec types."""

from typing import Any

import msgspec
from msgspec import Struct

Json = dict[str, Any]
REFERENCE = "#/components/schemas/{name}"
PICTURE = "data:image/jpeg;base64,/9j/4AAQSkZJRg=="


def schema_of(struct: type[Struct]) -> Json:
    """The struct's own schema; what it refers to is in the components."""
    _, components = msgspec.json.schema_components([struct], ref_template=REFERENCE)
    return components[struct.__name__]


def reference(name: str) -> Json:
    return {"$ref": REFERENCE.format(name=name)}


def described(schema: Json, text: str) -> Json:
    return schema | {"description": text}


def media(schema: Json, example: Any = None) -> Json:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}
