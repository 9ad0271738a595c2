"""Which of our three forms of answer a caller wants, from its Accept header."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from models.wire.groups import Delivery, ImageFormat
from service.errors import NotAcceptable

AnswerForm = Literal["json", "image", "events"]
FORMATS: dict[str, ImageFormat] = {"image/jpeg": "jpeg", "image/webp": "webp", "image/png": "png"}
OFFERED = ["application/json", "text/event-stream", *FORMATS]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the header allows. `named` is the image type that it likes best, if it likes one better than JSON."""

    form: AnswerForm
    formats: frozenset[ImageFormat] = frozenset()
    named: ImageFormat | None = None

    @property
    def defaults(self) -> dict[str, ImageFormat]:
        """What stands for the field `format` where a request leaves it out; nothing: its own default."""
        return {} if self.named is None else {"format": self.named}

    def refuse_unfit(self, num_images: int, image_format: ImageFormat) -> None:
        """Raises NotAcceptable when the plain image asked for can't be given."""
        if self.form != "image":
            return
        if num_images != 1:
            raise NotAcceptable(
                "one_image_only",
                "A plain image answer holds one portrait; set n=1, or accept application/json.",
                value=num_images,
                limit=1,
            )
        if image_format not in self.formats:
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
    for _, _, _, kind in sorted(liked, reverse=True):
        if (form := _form_of(kind)) is not None:
            formats = _formats(ranges)
            return Accepted(form, frozenset(formats), _named(kind, formats) if form == "image" else None)
    raise NotAcceptable(
        "not_acceptable",
        "Answers are application/json, text/event-stream or one plain image.",
        extra={"allowed": OFFERED},
    )


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
    matching = [(_specificity(one), quality) for one, quality in ranges if one in (kind, "image/*", "*/*")]
    return max(matching, default=(0, 0.0))[1]


def _form_of(kind: str) -> AnswerForm | None:
    if kind in ("*/*", "application/*", "application/json"):
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
        quality = next((_quality(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        if kind:
            ranges.append((kind, quality))
    return ranges


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
