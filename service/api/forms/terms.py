"""What a form says of the job itself, whatever the job makes."""

from typing import Annotated

from msgspec import Meta, Struct

from service.jobs.options import OnDisconnect

Deadline = Annotated[
    float, Meta(ge=0.1, le=600, description="a number of seconds from 0.1 to 600, for the whole answer")
]
OnLeaving = Annotated[
    OnDisconnect,
    Meta(description="cancel (stop when the client leaves) or finish (go on; fetch the result as a job)"),
]
HookTarget = Annotated[
    str,
    Meta(
        pattern="^https?://",
        max_length=2000,
        description="a public https address that is told of the job's end (signed)",
    ),
]


class CallerTerms(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By when, what becomes of the job when nobody listens, and who is told of its end. Headers may say more."""

    deadline: Deadline | None = None
    on_disconnect: OnLeaving | None = None
    webhook: HookTarget | None = None

    def __repr__(self) -> str:
        return f"CallerTerms({self.on_disconnect})"  # an address may be somebody's secret
