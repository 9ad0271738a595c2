"""Pictures in a JSON object, under the names that files have in a form: a text each, or a list of texts."""

import asyncio
from collections.abc import Iterator
from typing import Any, cast

from service.api.body.data_url import read_picture_text
from service.api.body.expected import Expected, FileField
from service.api.body.limits import UploadLimits
from service.api.body.received import Received
from service.errors import BadRequest

Named = tuple[FileField, str, str]  # whose picture, the name for a refusal, and the text


def take_inline(values: dict[str, Any], expected: Expected, limits: UploadLimits) -> list[Named]:
    """Those among the values, which lose them. Raises BadRequest for too many, and for what is no text."""
    found: list[Named] = []
    for field in expected.files:
        texts = [one for name in field.names if name in values for one in _texts(field, name, values.pop(name))]
        if field.several:
            limits.refuse_too_many(len(texts), field.name)
        elif len(texts) > 1:
            message = f"'{field.name}' is one picture: send one text."
            raise BadRequest.of_field("invalid_field", field.name, message)
        found += texts
    return found


async def read_inline(found: list[Named], limits: UploadLimits, received: Received) -> None:
    """Their bytes, into `received`; in a thread, as base64 of many megabytes would hold up the loop.

    It has ended when this has, whatever is raised: who wipes what was received finds all of it. Raises BadRequest or
    TooLarge.
    """

    def decode() -> None:
        for field, name, text in found:
            received.add_file(field.name, "").data = read_picture_text(name, text, max_bytes=limits.max_image_bytes)

    work = asyncio.ensure_future(asyncio.to_thread(decode))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        raise


def _texts(field: FileField, name: str, value: Any) -> Iterator[Named]:
    is_list = isinstance(value, list)
    for index, one in enumerate(cast(list[Any], value) if is_list else [value]):
        label = f"{name}[{index}]" if is_list else name
        if not isinstance(one, str):
            message = f"'{label}' must be a picture as a text: base64, or a data: URL (data:image/jpeg;base64,...)."
            raise BadRequest.of_field("invalid_field", label, message)
        if one in field.words:
            raise BadRequest.of_field(field.missing, label, f"'{label}' is a word, not a photo{field.advice or '.'}")
        if not one.strip():
            raise BadRequest.of_field(field.missing, label, f"The picture in '{label}' is empty.")
        yield field, label, one
