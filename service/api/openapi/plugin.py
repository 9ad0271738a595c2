"""The OpenAPI document of one application, made once and kept."""

from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Litestar, Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin

from service.access.guard import OPEN
from service.api.openapi.completion import complete
from service.api.openapi.keys import add_keys
from service.api.surface import Surface
from service.metrics import package_version
from service.settings import Settings

DESCRIPTION = """One selfie in, new portraits out, in seconds and with no training.

Selfies are held in memory while a request runs and are never written or logged. Every failure is
`application/problem+json` with a stable `code`. A client that leaves frees its rows.
"""


class DocumentPlugin(JsonRenderPlugin):
    """The document as JSON."""

    def __init__(self, surfaces: Sequence[Surface], settings: Settings) -> None:
        super().__init__()
        self._surfaces = surfaces
        self._settings = settings
        self._whole: dict[str, Any] | None = None  # it is the same for every request, and takes some milliseconds

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return msgspec.json.encode(self.whole(request.app))

    def whole(self, app: Litestar) -> dict[str, Any]:
        """The document of this one application."""
        if self._whole is None:
            self._whole = whole_document(app, self._surfaces, self._settings)
        return self._whole


def whole_document(app: Litestar, surfaces: Sequence[Surface], settings: Settings) -> dict[str, Any]:
    """What Litestar derives of the routes, and all that it can't."""
    document = app.openapi_schema.to_schema()
    complete(document, surfaces, settings)
    add_keys(document, app)
    return document


def openapi_config(surfaces: Sequence[Surface], settings: Settings) -> OpenAPIConfig:
    """The document at /schema/openapi.json; the page that shows it is our own (/docs)."""
    return OpenAPIConfig(
        title="Proofsheet",
        version=package_version(),
        description=DESCRIPTION,
        render_plugins=[DocumentPlugin(surfaces, settings)],
        use_handler_docstrings=True,
        openapi_router=Router("/schema", route_handlers=[], opt=OPEN),
    )
