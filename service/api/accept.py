"""Which of our three forms of answer a caller wants, from its Accept header."""

from functools import lru_cache
from typing import Literal

from service.errors import NotAcceptable

AnswerForm = Literal["json", "image", "events"]
FORMATS = {"image/jpeg": "jpeg", "image/webp": "webp", "image/png": "png"}
OFFERED = ["application/json", "text/event-stream", *FORMATS]


class Accepted:
    """What the header allows: the chosen form, and for images the media types."""

    def __init__(self, form: AnswerForm, image_types: frozenset[str]) -> None:
        self.form: AnswerForm = form
        self._image_types = image_types

    def check(self, num_images: int, image_format: str) -> None:
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
        if not self._image_types & {"image/*", f"image/{image_format}"}:
            raise NotAcceptable(
                "format_not_accepted",
                f"The portrait would be image/{image_format}, which the Accept header leaves out; "
                "set `format` or accept image/*.",
                value=f"image/{image_format}",
            )


@lru_cache(maxsize=64)  # clients send the same few; what is refused is not kept
def choose_form(header: str | None) -> Accepted:
    """By quality, then by how specific a range is, then by order; JSON for no header. Raises NotAcceptable."""
    ranges = _ranges(header or "*/*")
    candidates = [(quality, _specificity(kind), -place, kind) for place, (kind, quality) in enumerate(ranges)]
    for _, _, _, kind in sorted(candidates, reverse=True):
        if (form := _form_of(kind)) is not None:
            return Accepted(form, frozenset(kind for kind, _ in ranges if kind.startswith("image/")))
    raise NotAcceptable(
        "not_acceptable",
        "Answers are application/json, text/event-stream or one plain image.",
        extra={"allowed": OFFERED},
    )


def _form_of(kind: str) -> AnswerForm | None:
    if kind in ("*/*", "application/*", "application/json"):
        return "json"
    if kind == "text/event-stream":
        return "events"
    return "image" if kind == "image/*" or kind in FORMATS else None


def _specificity(kind: str) -> int:
    return 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2


def _ranges(header: str) -> list[tuple[str, float]]:
    """Media ranges with a quality over zero. A quality that is no number counts as one."""
    ranges: list[tuple[str, float]] = []
    for part in header.split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((_quality(text[2:]) for text in parameters if text.startswith("q=")), 1.0)
        if kind and quality > 0:
            ranges.append((kind, quality))
    return ranges


def _quality(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
