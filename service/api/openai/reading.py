"""The body of an images request: OpenAI's multipart form, or its JSON with the pictures as data: URLs."""

import asyncio
from typing import Any, cast

from service.api.data_urls import read_data_url
from service.api.fields import field_problem, read_fields, read_one
from service.api.finals import FinalForm
from service.api.forms import Body, HttpRequest, Parts, UploadLimits, arriving, check_encoding, read_multipart
from service.api.json_body import read_json
from service.api.openai.fields import THEIRS, ImagesFields, ImagesWish, check_name, no_selfie, read_wish
from service.api.portrait_form import PortraitForm, ProofToken
from service.errors import BadRequest, UnsupportedMedia

OF_FINALS = frozenset(
    {"proof", "prompt", "output_format", "output_compression", "response_format", "stream", "partial_images", "user"}
)

Pictures = list[bytearray]
Values = dict[str, Any]


async def read_edit(request: HttpRequest, limits: UploadLimits) -> tuple[ImagesWish, Pictures]:
    """A checked wish and the selfies. Raises a ServiceError; what was read of a refused upload is wiped."""
    kind, options = request.content_type
    if kind == "multipart/form-data":
        return await _read_form(request, limits, options.get("boundary", ""))
    if kind != "application/json":
        message = "Send multipart/form-data with an 'image', or application/json with 'images'."
        raise UnsupportedMedia("unsupported_media", message)
    values = await read_json(request, limits)
    entries = values.pop("images", None)
    wish = read_wish(values, from_text=False)
    if entries is None and wish.ours.identity is not None:
        return wish, []
    return wish, await asyncio.to_thread(read_entries, entries, limits)


async def read_generation(request: HttpRequest, limits: UploadLimits) -> tuple[ImagesWish, FinalForm | None]:
    """What to draw of an identity; or of a proof its final. Raises BadRequest when the request has neither."""
    values = await read_json(request, limits)
    if values.get("proof") is not None:
        return _read_final(values)
    wish = read_wish(values, from_text=False)
    if wish.ours.identity is None:
        raise no_selfie()
    return wish, None


def _read_final(values: Values) -> tuple[ImagesWish, FinalForm]:
    """A proof settles all but the format; what OpenAI's client must send beside it may be there, and says nothing."""
    for name, value in values.items():
        if name not in OF_FINALS or (name == "prompt" and value):
            message = f"With a 'proof' the picture is settled: leave out '{name}' (and leave the prompt empty)."
            raise field_problem("settled_by_proof", name, message)
    theirs = read_fields(ImagesFields, {"prompt": ""} | {name: values[name] for name in values if name in THEIRS})
    final = FinalForm(
        proof=read_one("proof", values["proof"], ProofToken),
        format=theirs.output_format,
        quality=max(theirs.output_compression, 1),
        previews=theirs.partial_images > 0,
    )
    return ImagesWish(theirs=theirs, ours=PortraitForm()), final


async def _read_form(request: HttpRequest, limits: UploadLimits, boundary: str) -> tuple[ImagesWish, Pictures]:
    check_encoding(request)
    parts = Parts(limits, [], check_name)
    async with arriving(limits, parts.files):
        await read_multipart(Body(request, limits.max_body_bytes, "body_too_large"), boundary, parts)
        return read_wish(_once_each(parts.fields), from_text=True), parts.images


def _once_each(fields: list[tuple[str, str]]) -> Values:
    values: Values = {}
    for name, text in fields:
        if name in values:
            raise field_problem("duplicate_field", name, f"The field '{name}' is there more than once.")
        values[name] = text
    return values


def read_entries(entries: Any, limits: UploadLimits) -> Pictures:
    """`images` as OpenAI's JSON has it: [{"image_url": "data:..."}]. Raises BadRequest or TooLarge."""
    if not isinstance(entries, list) or not entries:
        message = 'There is no selfie: send images=[{"image_url": "data:image/jpeg;base64,..."}].'
        raise field_problem("image_missing", "images", message)
    listed = cast(list[Any], entries)
    if len(listed) > limits.max_images:
        message = f"There are more than {limits.max_images} selfies: send the best {limits.max_images}."
        raise BadRequest("too_many_images", message, limit=limits.max_images, extra={"field": "images"})
    return [_read_entry(index, entry, limits) for index, entry in enumerate(listed)]


def _read_entry(index: int, entry: Any, limits: UploadLimits) -> bytearray:
    name = f"images[{index}].image_url"
    if isinstance(entry, dict) and "file_id" in entry:
        message = "No files are kept here: send the picture as image_url with a data: URL instead of a file_id."
        raise field_problem("file_id_unsupported", f"images[{index}].file_id", message)
    url = cast(dict[str, Any], entry).get("image_url") if isinstance(entry, dict) else None
    if not isinstance(url, str) or len(cast(dict[str, Any], entry)) != 1:
        message = f'images[{index}] must be an object with one text: {{"image_url": "data:image/jpeg;base64,..."}}.'
        raise field_problem("invalid_field", name, message)
    return read_data_url(name, url, max_bytes=limits.max_image_bytes)
