"""What the OpenAPI document says of keys and quotas: for every route the same, and asked of the routes themselves."""

from typing import Any

from litestar import Litestar
from litestar.routes import HTTPRoute

from service.access.guard import OPEN
from service.api.dialects import PROBLEM, in_dialect

Document = dict[str, Any]
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer ps_...`"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
SECURITY: list[Document] = [{"bearer": []}, {"apiKey": []}, {}]  # {}: a service without keys asks for none
REFUSALS = {
    "401": "No API key, or one that is not valid here.",
    "403": "The key lacks a scope, or the token is another caller's.",
    "429": "The key's quota is used up: try again after Retry-After.",
}
MAKES_JOBS = ("post", "put")


def add_access(document: Document, app: Litestar) -> None:
    """Put the schemes into the document, and security and refusals into every operation that asks for a key."""
    document["components"]["securitySchemes"] = SCHEMES
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        operations = document["paths"].get(route.path_format, {})
        for handler in route.route_handlers:
            for method in handler.http_methods:
                operation = operations.get(method.lower())
                if operation is not None and handler.opt.get("access") != OPEN["access"]:
                    _ask_for_key(operation, route.path_format, method.lower())


def _ask_for_key(operation: Document, path: str, method: str) -> None:
    operation["security"] = SECURITY
    for status, text in REFUSALS.items():
        if status != "429" or method in MAKES_JOBS:
            operation["responses"].setdefault(status, _refusal(int(status), text, path))


def _refusal(status: int, text: str, path: str) -> Document:
    """In the form that the surface at this path has for it."""
    problem = {"type": "", "title": "", "status": status, "code": "", "detail": "", "request_id": ""}
    _, media_type, _ = in_dialect(path, problem)
    schema = {"$ref": "#/components/schemas/Problem"} if media_type == PROBLEM else {"type": "object"}
    return {"description": text, "content": {media_type: {"schema": schema}}}
