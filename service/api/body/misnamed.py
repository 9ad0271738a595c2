"""Bodies whose Content-Type is another's: curl names a form where nothing is said."""

from service.decoders.content import READABLE, name_content

START = 512  # bytes by which a body is known


def what_is_misnamed(start: bytes | bytearray) -> str | None:
    """What a body that begins so is, and how to send it; None for what may be malformed, but not misnamed."""
    content = name_content(bytes(start[:START]))
    if content in READABLE:
        return (
            f"The body is a {content} picture, and its Content-Type says something else: name the picture's own "
            "(with curl: -H 'Content-Type: image/jpeg'), or send it as a file (-F image=@selfie.jpg)."
        )
    if content == "JSON":
        return (
            "The body is JSON, and its Content-Type says something else: name application/json "
            "(with curl: -H 'Content-Type: application/json')."
        )
    return None
