"""GET /docs: the OpenAPI document as a page to read, made here: one stylesheet of ours and no script at all."""

import json
from html import escape
from importlib.resources import files
from typing import Any

from litestar import MediaType, Request, Response, get

from service.access.guard import OPEN
from service.api.codes import Meanings, codes
from service.api.openapi.plugin import DocumentPlugin
from service.api.openapi.statuses import STATUSES
from service.api.record import record_of

Json = dict[str, Any]
POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
ERRORS = (
    "Every refusal has a stable code, a sentence about what was wrong and what to do, and an id that finds it in "
    "our log. These are all the codes, by status; on Replicate's and Cog's surfaces what is wrong with an input is 422."
)
STYLE = files("service").joinpath("web/docs.css")

AnyRequest = Request[Any, Any, Any]


@get("/openapi.json", operation_id="openapi", summary="The OpenAPI document", opt=OPEN)
async def openapi_json(request: AnyRequest) -> dict[str, Any]:
    """This interface, all surfaces of it; `Input` and `Output` are those of the model at Cog's root."""
    return document_of(request) | {"servers": [{"url": record_of(request.scope).prefix or "/"}]}


@get("/docs", include_in_schema=False, opt=OPEN)
async def docs(request: AnyRequest) -> Response[str]:
    """The page."""
    text = page(document_of(request), record_of(request.scope).prefix)
    return Response(text, media_type=MediaType.HTML, headers={"Content-Security-Policy": POLICY})


@get("/docs/errors", include_in_schema=False, opt=OPEN)
async def docs_errors(request: AnyRequest) -> Response[str]:
    """Where the `type` of a problem leads: what its code means. The problem itself has the sentence."""
    by_status = "".join(_codes(status, meanings) for status, meanings in codes().items())
    body = "<h1>Refusals and failures</h1>" + _text(ERRORS) + by_status
    return Response(
        _framed("Errors", body, record_of(request.scope).prefix),
        media_type=MediaType.HTML,
        headers={"Content-Security-Policy": POLICY},
    )


@get("/docs/style.css", include_in_schema=False, opt=OPEN, sync_to_thread=False)
def docs_style() -> Response[bytes]:
    """How the page looks."""
    return Response(STYLE.read_bytes(), media_type=MediaType.CSS)


DOCS_ROUTES = (openapi_json, docs, docs_errors, docs_style)


def document_of(request: AnyRequest) -> Json:
    """From the plugin that keeps it."""
    config = request.app.openapi_config
    assert config is not None
    return next(plugin for plugin in config.render_plugins if isinstance(plugin, DocumentPlugin)).whole(request.app)


def page(document: Json, prefix: str = "") -> str:
    """The whole document as HTML, with `prefix` before our paths. All in it is ours, and is escaped all the same."""
    info, tags = document["info"], document["tags"]
    groups = [_group(document, tag) for tag in tags]
    links = "".join(f'<li><a href="#{escape(tag["name"])}">{escape(tag["name"])}</a></li>' for tag in tags)
    return _framed(
        info["title"],
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>{_text(info['description'])}"
        f'<p>For machines: <a href="{escape(prefix)}/openapi.json">openapi.json</a></p>'
        f"<nav><ul>{links}</ul></nav>{''.join(groups)}",
        prefix,
    )


def _framed(title: str, body: str, prefix: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="stylesheet" href="{escape(prefix)}/docs/style.css"></head>'
        f"<body>{body}</body></html>"
    )


def _group(document: Json, tag: Json) -> str:
    found = [
        _operation(document, method, path, operation)
        for path, ways in document["paths"].items()
        for method, operation in ways.items()
        if tag["name"] in operation["tags"]
    ]
    name = escape(tag["name"])
    return f'<h2 id="{name}">{name}</h2>{_text(tag["description"])}{"".join(found)}'


def _operation(document: Json, method: str, path: str, operation: Json) -> str:
    bodies = [
        _body(document, kind, content) for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    ]
    return (
        f'<details id="{escape(operation["operationId"])}">'
        f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation.get('summary', ''))}</summary>"
        f"{_text(operation.get('description', ''))}{_parameters(operation.get('parameters', []))}"
        f"{''.join(bodies)}{_responses(operation['responses'])}</details>"
    )


def _parameters(parameters: list[Json]) -> str:
    rows = [(f"{one['name']} ({one['in']})", one.get("description", "")) for one in parameters]
    return _table("Parameters", rows)


def _body(document: Json, kind: str, content: Json) -> str:
    schema = _resolved(document, content.get("schema", {}))
    fields = [(name, _meaning(document, field)) for name, field in schema.get("properties", {}).items()]
    example = content.get("example")
    shown = "" if example is None else f"<pre>{escape(json.dumps(example, indent=2))}</pre>"
    return _table(f"Body, {kind}", fields) + shown


def _responses(responses: Json) -> str:
    rows = [(status, f"{one['description']} {', '.join(one.get('content', {}))}") for status, one in responses.items()]
    return _table("Answers", sorted(rows))


def _codes(status: str, meanings: Meanings) -> str:
    return f"<h2>{status}</h2>{_text(STATUSES[status])}" + _table("Code", list(meanings.items()), linked=True)


def _table(title: str, rows: list[tuple[str, str]], *, linked: bool = False) -> str:
    """With `linked`, an address may end in # and the name of a row."""
    if not rows:
        return ""
    marks = [f' id="{escape(name)}"' if linked else "" for name, _ in rows]
    cells = "".join(
        f"<tr{mark}><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>"
        for mark, (name, text) in zip(marks, rows, strict=True)
    )
    return f"<table><thead><tr><th>{escape(title)}</th><th></th></tr></thead><tbody>{cells}</tbody></table>"


def _meaning(document: Json, field: Json) -> str:
    """A field's description; of a reference, the names of its own fields."""
    for choice in [field, *field.get("anyOf", [])]:
        if "description" in choice:
            return str(choice["description"])
        if "$ref" in choice:
            return "an object with " + ", ".join(_resolved(document, choice).get("properties", {}))
    return str(field.get("type", ""))


def _resolved(document: Json, schema: Json) -> Json:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())
