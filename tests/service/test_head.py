"""HEAD wherever GET is, and the types of the metrics page."""

import asyncio

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics
from prometheus_client.parser import text_string_to_metric_families as parse_metrics

from tests.service.clients import calling, one
from tests.service.harness import JPEG, SELFIE, build_service, client_of, listening

GETS = [
    *("/livez", "/readyz", "/health", "/metrics", "/openapi.json", "/docs", "/docs/errors", "/docs/style.css"),
    *("/v1/models", "/v1/models/photomaker-v2", "/v1/styles", "/v1/files", "/v1/predictions"),
    *("/v1/webhooks/default/secret", "/v1/models/proofsheet/portraits", "/", "/health-check"),
]
PROMETHEUS_ASKS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
OF_THE_MOMENT = {"x-request-id", "server-timing", "traceresponse"}


def told(answer):
    return answer.status_code, {name: text for name, text in answer.headers.items() if name not in OF_THE_MOMENT}


async def test_head_tells_what_get_tells_of_every_page():
    calls = [(method, path, {}) for path in GETS for method in ("HEAD", "GET")]

    answers = iter(await calling(*calls))
    for path, head, get in zip(GETS, answers, answers, strict=True):
        assert head.content == b"", path
        assert head.status_code == get.status_code == 200, path
        if path not in ("/metrics", "/health"):  # whose length changes
            assert told(head) == told(get)


async def test_head_of_a_job_and_of_its_events_costs_nobody_anything():
    service = build_service()

    async with client_of(service) as client:
        started = await client.post(
            "/v1/portraits?prompt=STALL&on_disconnect=finish",
            content=SELFIE,
            headers=JPEG | {"Prefer": "respond-async"},
        )
        job = started.headers["location"]
        async with asyncio.timeout(5):
            heads = [await client.head(job), await client.head(f"{job}/events")]
        left = (await client.get(job)).json()["status"]
        assert not service.cancelled
    assert [(head.status_code, head.content) for head in heads] == [(200, b"")] * 2
    assert heads[1].headers["content-type"].startswith("text/event-stream")
    assert left in ("queued", "running")


@pytest.mark.parametrize(("path", "status"), [("/nowhere", 404), ("/v1/jobs/none", 404), ("/v1/portraits", 405)])
async def test_head_is_refused_where_get_is(path, status):
    head, get = await calling(("HEAD", path, {}), ("GET", path, {}))
    assert (head.status_code, get.status_code, head.content) == (status, status, b"")


async def test_a_connection_goes_on_after_a_head():
    async with listening(build_service()) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answers = [await client.request(method, path) for path in ("/readyz", "/docs") for method in ("HEAD", "GET")]
    assert [(answer.status_code, bool(answer.content)) for answer in answers] == [(200, False), (200, True)] * 2
    assert answers[0].headers["content-length"] == answers[1].headers["content-length"]


async def test_head_is_counted_by_its_route():
    service = build_service()
    await one("HEAD", "/v1/styles", service=service)
    assert service.figure("requests_total", route="/v1/styles", outcome="ok") == 1


PAGES = [
    (None, "text/plain; version=0.0.4; charset=utf-8", parse_metrics),
    ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_metrics),
    ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", parse_metrics),
    ("application/openmetrics-text;q=0", "text/plain; version=0.0.4; charset=utf-8", parse_metrics),
    (
        PROMETHEUS_ASKS,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        parse_open_metrics,
    ),
    (
        "application/openmetrics-text; version=nonsense",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        parse_open_metrics,
    ),
]


async def test_the_metrics_page_is_of_the_type_that_is_asked_for():
    calls = [("GET", "/metrics", {"headers": {} if accept is None else {"Accept": accept}}) for accept, *_ in PAGES]

    for (accept, kind, parse), answer in zip(PAGES, await calling(*calls), strict=True):
        assert answer.headers["content-type"] == kind, accept
        assert {family.name for family in parse(answer.text)} >= {"proofsheet_ready", "proofsheet_queue_depth"}
