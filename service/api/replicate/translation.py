"""What every model's translation works with: the input's checked fields in, a form and its pictures out.

One rule decides what a foreign input becomes. What we can do is done. A value that its model has as its default, and
that we do otherwise, is left to the bundle. How much work a picture gets (steps, guidance, size) is fitted to the
bundle, and a note says so. All else that we can't do is refused.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from models.wire.bundle_info import BundleInfo
from service.api.forms.fields import PROSE
from service.api.forms.portrait import PortraitForm
from service.api.sizes import nearest_size
from service.errors import BadInput

Uri = Annotated[
    str,
    Meta(
        description="a data: URL, or the address that POST /v1/files gave",
        extra_json_schema={"format": "uri"},
        extra=PROSE,  # base64 comes in lines
        max_length=100_000_000,
    ),
]
YesNo = Annotated[bool, Meta(description="true or false")]


@dataclass(frozen=True, slots=True)
class Translated:
    """A prediction's input as we have it. `selfies` and `pose` are URIs with the names of their fields."""

    form: PortraitForm
    selfies: list[tuple[str, str]]
    pose: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list[str])  # what was fitted; goes into the prediction's logs

    def __repr__(self) -> str:
        return f"Translated({len(self.selfies)} selfies)"


def fit_steps(name: str, wanted: int | None, default: int, bundle: BundleInfo, notes: list[str]) -> int | None:
    """Their default becomes the bundle's own; more than it can make becomes its most."""
    if wanted is None or wanted == default:
        return None
    limit = min(bundle.max_steps, 50)
    if wanted > limit:
        notes.append(f"{name} {wanted}: this model is made for {bundle.default_steps} steps; it makes {limit}.")
    return min(wanted, limit)


def fit_guidance(name: str, wanted: float | None, default: float, bundle: BundleInfo, notes: list[str]) -> float | None:
    """Their default becomes the bundle's own, and so does everything where the bundle is made for none."""
    if wanted is None or wanted == default:
        return None
    if bundle.default_guidance <= 1:
        notes.append(f"{name} {wanted:g}: this model is made for {bundle.default_guidance:g}, which it keeps.")
        return None
    return at_most(name, wanted, 20)


def fit_size(width: int | None, height: int | None, bundle: BundleInfo, notes: list[str]) -> str | None:
    """The size that the bundle makes and that is nearest in shape; None for none asked for."""
    if width is None or height is None:
        return None
    wanted = f"{width}x{height}"
    made = nearest_size(wanted, bundle.sizes)
    if made != wanted:
        notes.append(f"{wanted}: the nearest size that this model makes is {made}.")
    return made


def at_most(name: str, value: float, limit: float) -> float:
    """Raises BadInput over the limit: their scale goes on where ours ends."""
    if value > limit:
        raise refuse(name, f"'{name}' is {value:g}: at most {limit:g} can be had here.")
    return value


def only(name: str, value: Any, possible: Any, reason: str) -> None:
    """Refuse what can't be had. Raises BadInput."""
    if value is not None and value != possible:
        raise refuse(name, f"'{name}' must be {str(possible).lower()} here: {reason}")


def refuse(name: str, message: str, code: str = "input_unsupported") -> BadInput:
    return BadInput.of_field(code, name, message)
