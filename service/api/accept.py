"""Which of our three forms of answer a caller wants, from its Accept header."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from models.wire.groups import Delivery, ImageFormat
from service.errors import NotAcceptable

AnswerForm = Literal["json", "image", "events"]
FORMATS: dict[str, ImageFormat] = {"image/jpeg": "jpeg", "image/webp": "webp", "image/png": "png"}
SAME_TYPE = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "image/x-png": "image/png"}
PAGES = ("text/html", "application/xhtml+xml")  # what a browser goes to an address for: JSON is the page it gets
OFFERED = ["application/json", "text/event-stream", *FORMATS]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the header allows: forms, the best liked first. `named` is the image type that it likes best, if it likes
    one better than JSON."""

    forms: tuple[AnswerForm, ...]
    formats: frozenset[ImageFormat] = frozenset()
    named: ImageFormat | None = None

    @property
    def defaults(self) -> dict[str, ImageFormat]:
        """What stands for the field `format` where a request leaves it out; nothing: its own default."""
        return {} if self.named is None else {"format": self.named}

    def form_for(self, num_images: int, image_format: ImageFormat) -> AnswerForm:
        """The best liked form that these pictures can have. Raises NotAcceptable where that would be a plain image."""
        is_plain = num_images == 1 and image_format in self.formats
        for form in self.forms:
            if form != "image" or is_plain:
                return form
        if num_images != 1:
            raise NotAcceptable(
                "one_image_only",
                "A plain image answer holds one portrait; set n=1, or accept application/json.",
                value=num_images,
                limit=1,
            )
        raise NotAcceptable(
            "format_not_accepted",
            f"The portrait would be image/{image_format}, which the Accept header leaves out; "
            "leave out `format`, or accept image/*.",
            value=f"image/{image_format}",
        )


@lru_cache(maxsize=64)  # clients send the same few; what is refused is not kept
def choose_form(header: str | None) -> Accepted:
    """By quality, then by how specific a range is, then by order; JSON for no header. Raises NotAcceptable."""
    ranges = _ranges(header or "*/*")
    liked = [(quality, _specificity(kind), -place, kind) for place, (kind, quality) in enumerate(ranges) if quality > 0]
    takes_json = _quality_of("application/json", ranges) > 0
    kinds = [kind for *_, kind in sorted(liked, reverse=True)]
    forms: list[tuple[str, AnswerForm]] = [
        (kind, form) for kind in kinds if (form := _form_of(kind, takes_json=takes_json)) is not None
    ]
    if forms:
        (best, form), formats = forms[0], _formats(ranges)
        distinct: tuple[AnswerForm, ...] = tuple(dict.fromkeys([form for _, form in forms]))
        return Accepted(distinct, frozenset(formats), _named(best, formats) if form == "image" else None)
    raise NotAcceptable(
        "not_acceptable",
        "Answers are application/json, text/event-stream or one plain image.",
        extra={"allowed": OFFERED},
    )


def is_named(kind: str, header: str | None) -> bool:
    """Whether the header lists this very type, and accepts it."""
    return any(one == kind and quality > 0 for one, quality in _ranges(header or ""))


def _named(kind: str, formats: list[ImageFormat]) -> ImageFormat | None:
    """Of any image, the default, unless that is the one that is left out."""
    if kind in FORMATS:
        return FORMATS[kind]
    return None if Delivery().format in formats else next(iter(formats), None)


def _formats(ranges: list[tuple[str, float]]) -> list[ImageFormat]:
    """Those of which the most specific range that matches has a quality over zero, the best first."""
    qualities: dict[ImageFormat, float] = {name: _quality_of(kind, ranges) for kind, name in FORMATS.items()}
    return sorted((name for name, quality in qualities.items() if quality > 0), key=lambda name: -qualities[name])


def _quality_of(kind: str, ranges: list[tuple[str, float]]) -> float:
    wider = (kind, kind.partition("/")[0] + "/*", "*/*")
    matching = [(_specificity(one), quality) for one, quality in ranges if one in wider]
    return max(matching, default=(0, 0.0))[1]


def _form_of(kind: str, *, takes_json: bool) -> AnswerForm | None:
    if kind in ("*/*", "application/*", "application/json", *(PAGES if takes_json else ())):
        return "json"
    if kind == "text/event-stream":
        return "events"
    return "image" if kind == "image/*" or kind in FORMATS else None


def _specificity(kind: str) -> int:
    return 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2


def _ranges(header: str) -> list[tuple[str, float]]:
    """Media ranges with their qualities. A quality that is no number counts as one."""
    ranges: list[tuple[str, float]] = []
    for part in header.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        values = [(name.strip(), value.strip()) for name, _, value in (text.partition("=") for text in parameters)]
        quality = next((_quality(value) for name, value in values if name == "q"), 1.0)
        if kind:
            ranges.append((SAME_TYPE.get(kind, kind), quality))
    return ranges


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
