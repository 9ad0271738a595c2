"""Who sent a request: found once by the guard, carried in the ASGI scope, asked for by everyone else."""

from collections.abc import Mapping
from typing import Any, Literal, cast, get_args

from msgspec import Struct

from service.errors import Forbidden

Scope = Literal["preview", "final", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
SCOPE_KEY = "proofsheet_caller"


class Limits(Struct, frozen=True, kw_only=True):
    """What one key may take. None is no limit."""

    images_per_minute: int | None = None
    jobs_in_flight: int | None = None


class Caller(Struct, frozen=True, kw_only=True):
    """Who calls, and with which of their keys. `id` owns jobs, tokens and shares; the limits are the key's own.

    One caller may have several keys: a page's for previews and a back end's for finals open each other's tokens.
    Both ids are public and may be logged.
    """

    id: str
    key_id: str = ""
    scopes: frozenset[Scope]
    weight: float = 1.0  # of this caller's share in the waiting line
    limits: Limits = Limits()


ANONYMOUS = Caller(id="anonymous", scopes=SCOPES)  # everyone, where no keys are configured
NOBODY = Caller(id="nobody", scopes=frozenset())  # on the open routes of a service that has keys


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """The caller of the request with this ASGI scope. The guard put it there; without a guard nobody is anybody."""
    return cast(Caller, scope[SCOPE_KEY])


def require(caller: Caller, needed: Scope) -> None:
    """Raises Forbidden if the caller's key was not given this scope."""
    if needed not in caller.scopes:
        raise Forbidden(
            "scope_missing",
            f"This API key may not do that: it takes a key with the scope '{needed}'.",
            extra={"scope": needed},
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'},
        )
