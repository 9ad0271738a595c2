"""Pictures that come as text: `data:` URLs (RFC 2397, read as browsers read them), and plain base64.

An address is never fetched: a service that opens URLs for strangers is a way into the network that it stands in.
"""

import binascii
import re
from urllib.parse import unquote_to_bytes

from service.decoders.content import ACCEPTED
from service.errors import BadRequest, TooLarge

HEAD = re.compile(r'\s*data:((?:[^,"]|"[^"]*")*),', re.IGNORECASE)  # up to a comma that is in no quotes
MAX_HEAD = 1000
LINE_ENDS = b"\r\n"
URL_SAFE = bytes.maketrans(b"-_", b"+/")


def read_data_url(name: str, text: str, *, max_bytes: int) -> bytearray:
    """The bytes of a `data:` URL, in base64 or percent-encoded. Raises BadRequest or TooLarge, naming the field."""
    head = HEAD.match(text[:MAX_HEAD])
    if head is None:
        raise BadRequest.of_field("image_not_inline", name, _what_is_wrong(name, text))
    is_base64 = any(parameter.strip().lower() == "base64" for parameter in head[1].split(";")[1:])
    return _read(name, text[head.end() :], is_base64=is_base64, max_bytes=max_bytes)


def read_picture_text(name: str, text: str, *, max_bytes: int) -> bytearray:
    """As `read_data_url`, for a field whose text may also be base64 alone."""
    if ":" in text[:MAX_HEAD]:
        return read_data_url(name, text, max_bytes=max_bytes)
    return _read(name, text, is_base64=True, max_bytes=max_bytes)


def _read(name: str, text: str, *, is_base64: bool, max_bytes: int) -> bytearray:
    try:
        encoded = text.encode("ascii")
        data = bytearray(_from_base64(encoded) if is_base64 else unquote_to_bytes(encoded))
    except ValueError:  # which binascii's and Unicode's errors are
        message = f"The base64 in '{name}' is malformed: encode the whole file, with padding."
        raise BadRequest.of_field("image_not_base64", name, message) from None
    if len(data) > max_bytes:
        message = f"The picture in '{name}' has more than {max_bytes} bytes: scale it down or save it as a JPEG."
        raise TooLarge.of_field("image_too_many_bytes", name, message, limit=max_bytes)
    if not data:
        raise BadRequest.of_field("image_missing", name, f"The picture in '{name}' is empty: send {ACCEPTED}.")
    return data


def _from_base64(text: bytes) -> bytes:
    """Of either alphabet (RFC 4648, sections 4 and 5), in lines or in one. Raises ValueError.

    The URL-safe one may lack its padding, and where percent signs stand the text is a URL's.
    """
    if b"%" in text:
        text = unquote_to_bytes(text)
    text = text.strip().translate(None, LINE_ENDS)
    if b"-" in text or b"_" in text:
        text = text.translate(URL_SAFE)
        text += b"=" * (-len(text) % 4)
    return binascii.a2b_base64(text, strict_mode=True)


def _what_is_wrong(name: str, text: str) -> str:
    if text[:8].lower().startswith(("http://", "https:/")):
        return f"'{name}' is an address, and addresses are not fetched here: send the picture itself as a data: URL."
    if text[:5].lower() == "data:":
        return f"The data: URL in '{name}' has no data: write it as data:image/jpeg;base64,..."
    return f"'{name}' is no picture: send {ACCEPTED} as a data: URL (data:image/jpeg;base64,...)."
