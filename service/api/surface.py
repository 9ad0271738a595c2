"""A surface: one way to call the service, for one kind of client, with all that the application has to know of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from service.api.front import Front
from service.api.refusals import PROBLEM_SHAPE, RefusalShape
from service.settings import Settings

Schemas = dict[str, dict[str, Any]]


class Part(Protocol):
    """Something of a surface's own that lives as long as the application."""

    async def close(self) -> None:
        """Every job has ended; what is to be told of them may still be sent."""
        ...


def no_schemas(_settings: Settings) -> Schemas:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """`name` and `about` are its group in the OpenAPI document, with `structs`, `schemas` and `operations` (by their
    ids) where Litestar can't derive them. `parts` are what its handlers get by these names, made for one application.

    Under `paths` even what no route takes is refused in its shape: 401, 404 and 405 come before a route is found.
    """

    name: str
    about: str
    routes: Sequence[HTTPRouteHandler]
    refusals: RefusalShape = PROBLEM_SHAPE
    paths: Sequence[str] = ()
    parts: Mapping[str, Callable[[Front], Part]] = field(default_factory=dict[str, Callable[[Front], Part]])
    structs: Sequence[type[Struct]] = ()
    schemas: Callable[[Settings], Schemas] = no_schemas
    operations: Callable[[], Schemas] = dict

    @property
    def operation_ids(self) -> list[str]:
        return [route.operation_id for route in self.routes if isinstance(route.operation_id, str)]


def shape_at(path: str, surfaces: Sequence[Surface]) -> RefusalShape:
    """How a refusal is told at this path."""
    for surface in surfaces:
        if any(path == prefix or path.startswith(prefix + "/") for prefix in surface.paths):
            return surface.refusals
    return PROBLEM_SHAPE
