"""What a caller wants of a job besides its pictures: by when, and what becomes of it when nobody listens."""

from typing import Literal

from msgspec import Struct

OnDisconnect = Literal["cancel", "finish"]


class JobOptions(Struct, frozen=True, kw_only=True):
    """`deadline_seconds` counts from acceptance; None is the service's default.

    `keep` holds the results in memory for a while after the end; without it they leave with their answer.
    """

    deadline_seconds: float | None = None
    on_disconnect: OnDisconnect = "cancel"
    idempotency_key: str | None = None
    fingerprint: bytes | None = None  # of the request; goes with the key
    keep: bool = False
    webhook: str | None = None

    def __repr__(self) -> str:
        return f"JobOptions({self.on_disconnect}, keep={self.keep})"  # a key or an address may be somebody's secret
