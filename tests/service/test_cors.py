"""Pages of other origins may send what their client packages send, and read every header of ours that says something
to them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.api.cors import SHOWN_HEADERS
from tests.service.harness import JPEG, SELFIE, build_service, client_of

SERVICE = Path(__file__).resolve().parents[2] / "service"
ORIGIN = "https://shop.example"
# What a browser acts on by itself, and what the proxies between us and it read.
FOR_THE_WAY = {
    "cache-control",
    "connection",
    "content-security-policy",
    "content-type",
    "referrer-policy",
    "vary",
    "x-accel-buffering",
    "x-content-type-options",
}


def headers_in(path: Path) -> Iterator[str]:
    """Names that stand in what is called headers: keys of dicts, firsts of pairs, and what is assigned to by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.keyword(arg=name, value=value) if is_headers(name):
                yield from names_in(value)
            case ast.Assign(targets=[target], value=value) if is_headers(last_name(target)):
                yield from names_in(value)
            case ast.AugAssign(target=target, value=value) if is_headers(last_name(target)):
                yield from names_in(value)
            case ast.Subscript(value=target, slice=ast.Constant(str(name)), ctx=ast.Store()) if is_headers(
                last_name(target)
            ):
                yield name
            case ast.FunctionDef(name=name) if name in ("fields", "should_retry"):
                yield from names_in(node)
            case _:
                pass


def is_headers(name: str | None) -> bool:
    return name is not None and (name.lower() == "headers" or name.endswith("_HEADERS"))


def last_name(target: ast.expr) -> str | None:
    return target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else None


def names_in(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        match part:
            case ast.Dict(keys=keys):
                yield from (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
            case ast.Tuple(elts=[ast.Constant(bytes(name)), _]):
                yield name.decode()
            case _:
                pass


def test_every_header_that_the_code_sets_is_shown_or_is_for_the_way() -> None:
    folders = [SERVICE / "api", SERVICE / "access"]
    of_requests = {"cors.py", "own_operations.py"}  # lists of headers that callers may send
    files = [path for folder in folders for path in folder.rglob("*.py") if path.name not in of_requests]
    found = {name.lower() for path in files for name in headers_in(path)}
    assert {"x-proof", "idempotency-replayed", "x-request-id", "retry-after", "ratelimit", "x-should-retry"} <= found
    assert found - FOR_THE_WAY == {name.lower() for name in SHOWN_HEADERS}


@pytest.mark.parametrize(
    ("method", "path", "headers", "needed"),
    [
        ("POST", "/v1/portraits", {"Accept": "image/jpeg"}, ["x-proof", "x-seed", "x-job-id"]),
        ("POST", "/v1/portraits", {"Idempotency-Key": "a"}, ["idempotency-replayed"]),
        ("POST", "/v1/portraits", {"Prefer": "respond-async"}, ["location", "retry-after", "preference-applied"]),
        ("GET", "/v1/images/edits", {}, ["x-should-retry", "allow"]),
    ],
)
async def test_what_an_answer_carries_is_shown(
    method: str, path: str, headers: dict[str, str], needed: list[str]
) -> None:
    async with client_of(build_service(cors_origins=(ORIGIN,))) as client:
        for _ in range(2):
            answer = await client.request(method, path, content=SELFIE, headers=JPEG | headers | {"Origin": ORIGIN})
    shown = set(re.split(r",\s*", answer.headers["access-control-expose-headers"].lower()))
    by_itself = {"allow", "content-length", "date", *FOR_THE_WAY}
    ours = {name for name in answer.headers if not name.startswith("access-control-")}
    assert set(needed) <= ours
    assert ours - by_itself <= shown


async def preflight(path: str, headers: str, *, origin: str = ORIGIN, method: str = "POST") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    async with client_of(build_service(cors_origins=(ORIGIN,))) as client:
        return await client.options(path, headers=asked)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/images/edits", "authorization,x-stainless-lang"),
        ("/v1/images/edits", "X-Stainless-Retry-Count, x-stainless-runtime-version, content-type"),
        ("/v1/images/generations", "openai-organization,openai-project,openai-beta,user-agent"),
        ("/v1/jobs/x/events", "cache-control,last-event-id"),
        ("/v1/portraits", "idempotency-key,prefer,cancel-after,x-api-key,x-requested-with,traceparent"),
        ("/predictions", "prefer,content-type"),
        ("/v1/finals", ""),
    ],
)
async def test_a_page_may_send_what_its_client_package_sends(path: str, headers: str) -> None:
    answer = await preflight(path, headers)
    assert answer.status_code == 204
    allowed = set(filter(None, re.split(r",\s*", answer.headers.get("access-control-allow-headers", ""))))
    assert allowed == set(filter(None, re.split(r",\s*", headers.lower())))


@pytest.mark.parametrize(
    ("headers", "wrong"),
    [
        ("x-forwarded-for", "headers"),
        ("x-stainless-<b>", "headers"),
        ("x-stainless-a b", "headers"),
        (",".join(f"x-stainless-{number}" for number in range(100)), "headers"),
    ],
)
async def test_a_page_may_not_send_any_header_and_no_list_without_end(headers: str, wrong: str) -> None:
    answer = await preflight("/v1/portraits", headers)
    assert (answer.status_code, answer.text) == (400, f"Disallowed CORS {wrong}")


async def test_what_an_answer_depends_on_is_named_in_one_vary() -> None:
    async with client_of(build_service(cors_origins=(ORIGIN,))) as client:
        foreign = await client.post("/v1/portraits", content=SELFIE, headers=JPEG | {"Origin": "https://evil.example"})
        plain = await client.get("/livez")
    assert foreign.headers.get_list("vary") == ["Accept, Prefer, Origin"]
    assert plain.headers.get_list("vary") == ["Origin"]
    assert not [name for name in foreign.headers if name.startswith("access-control-")]
