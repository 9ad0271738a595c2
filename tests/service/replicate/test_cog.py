"""The root of a Cog container."""

import asyncio

import pytest

from tests.service.clients import PICTURE, one, send_and_leave
from tests.service.harness import build_service, client_of, until

BODY = {"input": {"input_image": PICTURE, "prompt": "a man img"}}
STALL = {"input": {"image": PICTURE, "prompt": "STALL"}}


async def test_a_prediction_waits_for_its_end():
    answer = await one("POST", "/predictions", json=BODY)
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert answer.json()["output"][0].startswith("data:image/png;base64,")


async def test_a_model_that_fails_is_an_answer_with_200():
    service = build_service(cog_model="proofsheet/portraits")
    body = {"input": {"image": PICTURE, "prompt": "FAIL:no_face:caller"}}
    answer = await one("POST", "/predictions", service=service, json=body)
    assert (answer.status_code, answer.json()["status"], answer.json()["error"]) == (200, "failed", "As scripted.")


async def test_async_is_202_at_once():
    answer = await one("POST", "/predictions", json=BODY, headers={"Prefer": "respond-async"})
    assert (answer.status_code, answer.json()["status"]) == (202, "starting")


async def test_putting_an_id_twice_makes_one_job():
    service = build_service(cog_model="proofsheet/portraits")

    async with client_of(service) as client:
        prefer = {"Prefer": "respond-async"}
        both = [client.put("/predictions/mine-1", json=STALL, headers=prefer) for _ in range(3)]
        answers = await asyncio.gather(*both)
        await until(lambda: service.fakes[0].orders)
        cancelled = await client.post("/predictions/mine-1/cancel")
        later = await client.put("/predictions/mine-1", json=STALL)
    assert [(answer.status_code, answer.json()["id"]) for answer in answers] == [(202, "mine-1")] * 3
    assert len(service.fakes[0].orders) == 1
    assert (cancelled.status_code, cancelled.json()) == (200, {})
    assert (later.status_code, later.json()["status"]) == (200, "canceled")


async def test_leaving_cancels():
    service = build_service(cog_model="proofsheet/portraits")

    async with client_of(service) as client:
        await send_and_leave(client.post("/predictions", json=STALL), service)
    assert len(service.cancelled) == 1


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "where"),
    [
        ("POST", "/predictions", {"json": {"input": {}}}, 422, "input_image"),
        ("POST", "/predictions", {"json": {"input": {"input_image": PICTURE, "num_steps": 0}}}, 422, "num_steps"),
        ("PUT", "/predictions/a", {"json": BODY | {"id": "b"}}, 422, "id"),
        ("PUT", "/predictions/a b", {"json": BODY}, 422, "id"),
    ],
)
async def test_wrong_input_is_told_by_its_place(method, path, options, status, where):
    answer = await one(method, path, **options)
    [entry] = answer.json()["detail"]
    assert (answer.status_code, entry["loc"]) == (status, ["body", "input", where])
    assert set(entry) == {"loc", "msg", "type"}


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", "/predictions/nope/cancel", {}, 404),
        ("POST", "/predictions", {"content": b"{"}, 415),
        ("POST", "/predictions", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ("POST", "/predictions", {"json": BODY, "headers": {"Accept": "text/event-stream"}}, 406),
        ("GET", "/predictions", {}, 405),
    ],
)
async def test_what_is_refused_has_cogs_shape(method, path, options, status):
    answer = await one(method, path, **options)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)
    assert answer.headers["content-type"] == "application/json"


async def test_the_health_check_is_always_200_and_says_how_it_is():
    service = build_service()
    async with client_of(service, warm=False) as client:
        first = await client.get("/health-check")
        await asyncio.wait_for(service.workers.wait_ready(), 10)
        then = await client.get("/health-check")
        service.front.jobs.stopping = True
        answers = first, then, await client.get("/health-check")
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    states = [answer.json()["status"] for answer in answers]
    assert states[0] in ("STARTING", "READY")
    assert states[1:] == ["READY", "DEFUNCT"]


async def test_the_root_says_what_is_where():
    body = (await one("GET", "/")).json()
    assert (body["docs_url"], body["openapi_url"], body["model"]) == ("/docs", "/openapi.json", "tencentarc/photomaker")
