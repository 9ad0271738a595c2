"""Who sent a request: found once by the guard, carried in the ASGI scope, asked for by everyone else."""

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from msgspec import Struct

Scope = Literal["preview", "final", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
SCOPE_KEY = "proofsheet_caller"


class Limits(Struct, frozen=True, kw_only=True):
    """What one caller may take. None is no limit."""

    images_per_minute: int | None = None
    jobs_in_flight: int | None = None


class Caller(Struct, frozen=True, kw_only=True):
    """One API key's owner, or ANONYMOUS. The id is public: it names a caller in logs, shares and sealed tokens."""

    id: str
    scopes: frozenset[Scope]
    weight: float = 1.0  # of this caller's share in the waiting line
    limits: Limits = Limits()


ANONYMOUS = Caller(id="anonymous", scopes=SCOPES)  # everyone, where no keys are configured


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """The caller of the request with this ASGI scope. The guard put it there; without a guard nobody is anybody."""
    return cast(Caller, scope[SCOPE_KEY])
