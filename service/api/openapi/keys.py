"""What the OpenAPI document says of keys: for every route the same, and asked of the routes themselves."""

from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute

from service.access.guard import OPEN

Json = dict[str, Any]
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer ps_...`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
SECURITY: list[Json] = [{"bearer": []}, {"apiKey": []}, {}]  # {}: a service without keys asks for none


def add_keys(document: Json, app: Litestar) -> None:
    """Put the schemes into the document, and security into every operation that asks for a key."""
    document["components"]["securitySchemes"] = SCHEMES
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        operations = document["paths"].get(route.path_format, {})
        for handler in route.route_handlers:
            for method in handler.http_methods:
                operation = operations.get(method.lower())
                if operation is not None and handler.opt.get("access") != OPEN["access"]:
                    operation["security"] = SECURITY
