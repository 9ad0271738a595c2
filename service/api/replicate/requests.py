"""The body of a prediction's creation: what surrounds the input."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from service.api.body.expected import Expected
from service.api.forms.fields import flat_fields
from service.api.forms.values import read_fields, read_value
from service.api.replicate.catalogue import as_input
from service.errors import BadRequest

HookEvent = Literal["start", "output", "logs", "completed"]
ALL_EVENTS: tuple[HookEvent, ...] = ("start", "output", "logs", "completed")

Address = Annotated[str, Meta(max_length=2048, description="an https address of at most 2048 characters")]
Filter = Annotated[list[HookEvent], Meta(max_length=4, description="a list of start, output, logs and completed")]
OwnId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 letters, digits, - and _")]


class PredictionRequest(Struct, frozen=True, kw_only=True):
    """What Replicate and Cog take. `stream` is accepted and changes nothing: every prediction can be followed."""

    input: Annotated[dict[str, Any], Meta(description="an object with the model's inputs")]
    version: Annotated[str, Meta(max_length=256, description="a version's hash, or owner/name")] | None = None
    id: OwnId | None = None
    stream: Annotated[bool, Meta(description="true or false")] = False
    webhook: Address | None = None
    webhook_completed: Address | None = None
    webhook_events_filter: Filter | None = None
    context: Annotated[dict[str, Any], Meta(description="an object (not read here)")] | None = None
    created_at: Annotated[str, Meta(max_length=64, description="a time (not read here)")] | None = None

    def __repr__(self) -> str:
        return "PredictionRequest()"

    @property
    def hook(self) -> tuple[str, frozenset[HookEvent]] | None:
        """Where news go, and which; `webhook_completed` is the older way to ask for the last one only."""
        if self.webhook is not None:
            wanted = ALL_EVENTS if self.webhook_events_filter is None else self.webhook_events_filter
            return self.webhook, frozenset(wanted)
        return None if self.webhook_completed is None else (self.webhook_completed, frozenset({"completed"}))


PREDICTION = Expected(kinds=("json",), has_inline_pictures=True)


def read_request(values: Mapping[str, Any]) -> PredictionRequest:
    """Raises BadInput."""
    try:
        return read_fields(PredictionRequest, values)
    except BadRequest as error:
        raise as_input(error) from None


def checked_id(text: str) -> str:
    """A caller's own id, from a path. Raises BadInput."""
    try:
        return read_value(flat_fields(PredictionRequest)["id"], text)
    except BadRequest as error:
        raise as_input(error) from None
