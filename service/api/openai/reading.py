"""The body of an images request: OpenAI's multipart form, or its JSON with the pictures as data: URLs."""

from functools import partial
from typing import Any, cast

from service.api.body.arriving import arriving
from service.api.body.data_url import read_data_url
from service.api.body.expected import Expected
from service.api.body.limits import UploadLimits
from service.api.body.stream import HttpRequest
from service.api.forms.fields import flat_fields
from service.api.forms.final import FinalForm
from service.api.forms.form import SELFIES, blank_fields, long_fields
from service.api.forms.portrait import PortraitForm
from service.api.forms.values import read_fields, read_value
from service.api.openai.fields import (
    THEIRS,
    ImagesFields,
    ImagesRequest,
    no_selfie,
    read_images_request,
    refuse_unknown,
)
from service.errors import BadRequest
from service.memory import in_thread, wipe

EDIT = Expected(
    kinds=("multipart", "json"),
    refuse_unknown=refuse_unknown,
    files=(SELFIES,),
    long_fields=long_fields(PortraitForm),
    blank_fields=blank_fields(ImagesFields, PortraitForm),
    has_inline_pictures=True,
)
GENERATION = Expected(kinds=("json",), refuse_unknown=refuse_unknown)
OF_FINALS = frozenset(
    {"proof", "prompt", "output_format", "output_compression", "response_format", "stream", "partial_images", "user"}
)

Pictures = list[bytearray]
Values = dict[str, Any]


async def read_edit(request: HttpRequest, limits: UploadLimits) -> tuple[ImagesRequest, Pictures]:
    """What is asked, checked, and the selfies. Raises a ServiceError; what was read of a refused upload is wiped."""
    async with arriving(request, EDIT, limits) as received:
        entries = received.values.pop("images", None)
        asked = read_images_request(received.values, from_text=received.is_text)
        await received.complete()
        selfies = received.photos(SELFIES.name)
        if received.is_text or (entries is None and (selfies or asked.ours.identity is not None)):
            return asked, selfies
    return asked, await in_thread(partial(read_entries, entries, limits), lambda pictures: pictures)


async def read_generation(request: HttpRequest, limits: UploadLimits) -> tuple[ImagesRequest, FinalForm | None]:
    """What to draw of an identity; or of a proof its final. Raises BadRequest when the request has neither."""
    async with arriving(request, GENERATION, limits) as received:
        if received.values.get("proof") is not None:
            return _read_final(received.values)
        asked = read_images_request(received.values, from_text=received.is_text)
    if asked.ours.identity is None:
        raise no_selfie()
    return asked, None


def _read_final(values: Values) -> tuple[ImagesRequest, FinalForm]:
    """A proof settles all but the format; what OpenAI's client must send beside it may be there, and says nothing."""
    for name, value in values.items():
        if name not in OF_FINALS or (name == "prompt" and value):
            message = f"With a 'proof' the picture is settled: leave out '{name}' (and leave the prompt empty)."
            raise BadRequest.of_field("settled_by_proof", name, message)
    theirs = read_fields(ImagesFields, {"prompt": ""} | {name: values[name] for name in values if name in THEIRS})
    final = FinalForm(
        proof=read_value(flat_fields(FinalForm)["proof"], values["proof"]),
        delivery=theirs.delivery,
    )
    return ImagesRequest(theirs=theirs, ours=PortraitForm()), final


def read_entries(entries: Any, limits: UploadLimits) -> Pictures:
    """`images` as OpenAI's JSON has it: [{"image_url": "data:..."}]. Raises BadRequest or TooLarge."""
    if not isinstance(entries, list) or not entries:
        message = 'There is no selfie: send images=[{"image_url": "data:image/jpeg;base64,..."}].'
        raise BadRequest.of_field("image_missing", "images", message)
    listed = cast(list[Any], entries)
    limits.refuse_too_many(len(listed), "images")
    pictures: Pictures = []
    try:
        for index, entry in enumerate(listed):
            pictures.append(_read_entry(index, entry, limits))
    except BaseException:
        wipe(pictures)
        raise
    return pictures


def _read_entry(index: int, entry: Any, limits: UploadLimits) -> bytearray:
    name = f"images[{index}].image_url"
    if isinstance(entry, dict):
        given = cast(dict[str, Any], entry)
        entry = {key: value for key, value in given.items() if value is not None}  # null is left out, here as well
    if isinstance(entry, dict) and "file_id" in entry:
        message = "No files are kept here: send the picture as image_url with a data: URL instead of a file_id."
        raise BadRequest.of_field("file_id_unsupported", f"images[{index}].file_id", message)
    url = cast(dict[str, Any], entry).get("image_url") if isinstance(entry, dict) else None
    if not isinstance(url, str) or len(cast(dict[str, Any], entry)) != 1:
        message = f'images[{index}] must be an object with one text: {{"image_url": "data:image/jpeg;base64,..."}}.'
        raise BadRequest.of_field("invalid_field", name, message)
    return read_data_url(name, url, max_bytes=limits.max_image_bytes)
