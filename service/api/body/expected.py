"""What a route expects of a body: of which kinds it may be, and which files it may bring."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.api.body.limits import UploadLimits
from service.decoders.content import ACCEPTED
from service.jobs.sealing import MAX_TOKEN_CHARS

Kind = Literal["picture", "multipart", "urlencoded", "json"]

MAX_PLAIN_BYTES = 2 * MAX_TOKEN_CHARS  # without pictures: a token, and all else beside it
MAX_BYTES_BESIDE_FILE = 65_536
BASE64_SHARE = 4 / 3
URLENCODED = "application/x-www-form-urlencoded"
SENT_AS: dict[Kind, str] = {
    "picture": f"{ACCEPTED} as the body (Content-Type: image/...)",
    "multipart": "multipart/form-data",
    "urlencoded": f"a form ({URLENCODED})",
    "json": "JSON (application/json)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileField:
    """A field whose parts are files: one, or `several`, up to the limit of images. All its names mean the same."""

    name: str
    purpose: str
    other_names: tuple[str, ...] = ()
    several: bool = False
    missing: str = "image_missing"  # the code of a refusal where it is empty, or no file
    words: tuple[str, ...] = ()  # that callers send in place of it, and that belong elsewhere
    advice: str = ""  # for who sends a text; begins with what ends the sentence before

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.other_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Of a body: what one over it is refused with, and what to do."""

    max_bytes: int
    code: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """`refuse_unknown` raises for the name of a text that the route does not know, before a byte of it is read.

    Where a picture may be the whole body, it is the first of `files`, and the fields are in the query.
    """

    kinds: tuple[Kind, ...]
    refuse_unknown: Callable[[str], None] = lambda _name: None
    files: tuple[FileField, ...] = ()
    long_fields: tuple[str, ...] = ()  # texts that hold a token
    json_fields: tuple[str, ...] = ()  # texts that are JSON, which browsers' forms send as files
    blank_fields: tuple[str, ...] = ()  # texts of which nothing is something: of all others, a form leaves them out
    has_inline_pictures: bool = False  # as base64 or data: URLs, in JSON

    def file_field(self, name: str) -> FileField | None:
        return next((field for field in self.files if name in field.names), None)

    def reads_query(self, kind: Kind) -> bool:
        return "picture" in self.kinds and kind in ("picture", "multipart")

    def max_field_bytes(self, name: str, limits: UploadLimits) -> int:
        return MAX_TOKEN_CHARS if name in self.long_fields else limits.max_field_bytes

    def bound(self, kind: Kind, limits: UploadLimits) -> Bound:
        """Of a body of this kind. Where it can hold but one picture, that is what is too large."""
        max_bytes = self._max_body_bytes(kind, limits)
        is_one = kind == "picture" or (kind == "multipart" and self.files and not self.takes_several)
        is_plain = kind == "urlencoded" or not (self.files or self.has_inline_pictures)
        return Bound(
            max_bytes=max_bytes,
            code="image_too_many_bytes" if is_one else "body_too_large",
            advice=f"a body with a picture is {self.sentence}" if is_plain else "send fewer or smaller pictures",
        )

    def _max_body_bytes(self, kind: Kind, limits: UploadLimits) -> int:
        """By whether pictures can be in it, and how many."""
        plain = min(limits.max_body_bytes, MAX_PLAIN_BYTES)
        match kind:
            case "picture":
                return limits.max_image_bytes
            case "multipart" if self.files:
                return limits.max_body_bytes if self.takes_several else limits.max_image_bytes + MAX_BYTES_BESIDE_FILE
            case "json":
                return int((limits.max_body_bytes if self.has_inline_pictures else plain) * BASE64_SHARE)
            case _:
                return plain

    @property
    def takes_several(self) -> bool:
        return len(self.files) > 1 or any(field.several for field in self.files)

    @property
    def sentence(self) -> str:
        """What to send, for who sent something else."""
        *most, last = (SENT_AS[kind] for kind in self.kinds)
        return f"{', '.join(most)} or {last}" if most else last


def kind_of(media_type: str) -> Kind | None:
    """The kind of a body of this media type; None for one that nothing here reads."""
    if media_type.startswith("image/") or media_type == "application/octet-stream":
        return "picture"
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    return {"multipart/form-data": "multipart", URLENCODED: "urlencoded"}.get(media_type)  # type: ignore[return-value]
