"""How a caller wants to wait: the headers Prefer (RFC 7240) and Cancel-After (as Replicate has it)."""

import re

from msgspec import Struct

from service.errors import BadRequest

MAX_HEADER_LENGTH = 200
SECONDS_PER = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
DURATION = re.compile(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|s|m|h|)", re.IGNORECASE)


class Preferences(Struct, frozen=True, kw_only=True):
    """`waits` is a `wait` of any form; `wait_seconds` its number, if it has one."""

    respond_async: bool = False
    waits: bool = False
    wait_seconds: float | None = None

    @property
    def applied(self) -> str:
        """The value of Preference-Applied."""
        if self.respond_async:
            return "respond-async"
        return "wait" if self.wait_seconds is None else f"wait={self.wait_seconds:g}"


def read_prefer(header: str | None) -> Preferences:
    """What is not understood is ignored, as the RFC wants it: a preference is no demand."""
    if header is None:
        return Preferences()
    found: dict[str, str] = {}
    for part in header[:MAX_HEADER_LENGTH].split(","):
        name, _, value = part.split(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait", "")
    return Preferences(
        respond_async="respond-async" in found,
        waits="wait" in found,
        wait_seconds=float(wait) if re.fullmatch(r"[0-9]{1,5}", wait) else None,
    )


def read_cancel_after(header: str | None) -> float | None:
    """Seconds: `15s`, `1m`, `1.5m`, `900ms`, or a plain number of seconds. Raises BadRequest."""
    if header is None:
        return None
    match = DURATION.fullmatch(header.strip())
    seconds = float(match[1]) * SECONDS_PER[match[2].lower()] if match else 0.0
    if seconds <= 0:
        raise BadRequest(
            "cancel_after_invalid",
            "The header Cancel-After must be a time over zero, such as 15s, 1m or 900ms.",
            extra={"header": "Cancel-After"},
        )
    return seconds
