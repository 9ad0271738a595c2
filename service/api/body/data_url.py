"""Pictures that come inside JSON, as `data:` URLs.

An address is never fetched: a service that opens URLs for strangers is a way into the network that it stands in.
"""

import binascii
import re

from service.decoders.content import ACCEPTED
from service.errors import BadRequest, TooLarge

HEAD = re.compile(r"data:[A-Za-z0-9.+/-]{0,64}(;[A-Za-z0-9=._-]{1,64}){0,4};base64,", re.IGNORECASE)
MAX_HEAD = 400


def read_data_url(name: str, text: str, *, max_bytes: int) -> bytearray:
    """The bytes of a base64 `data:` URL. Raises BadRequest or TooLarge, naming the field."""
    head = HEAD.match(text[:MAX_HEAD])
    if head is None:
        raise BadRequest.of_field("image_not_inline", name, _what_is_wrong(name, text))
    length = len(text) - head.end()
    if length > (max_bytes + 2) // 3 * 4:
        message = f"The picture in '{name}' has more than {max_bytes} bytes: scale it down or save it as a JPEG."
        raise TooLarge.of_field("image_too_many_bytes", name, message, limit=max_bytes)
    try:
        data = bytearray(binascii.a2b_base64(text[head.end() :].encode("ascii"), strict_mode=True))
    except (binascii.Error, ValueError):
        message = f"The base64 in '{name}' is malformed: encode the whole file, with padding and without line breaks."
        raise BadRequest.of_field("image_not_base64", name, message) from None
    if not data:
        raise BadRequest.of_field("image_missing", name, f"The picture in '{name}' is empty: send {ACCEPTED}.")
    return data


def _what_is_wrong(name: str, text: str) -> str:
    if text[:8].lower().startswith(("http://", "https:/")):
        return f"'{name}' is an address, and addresses are not fetched here: send the picture itself as a data: URL."
    if text[:5].lower() == "data:":
        return f"The data: URL in '{name}' is not base64: write it as data:image/jpeg;base64,..."
    return f"'{name}' is no picture: send {ACCEPTED} as a data: URL (data:image/jpeg;base64,...)."
