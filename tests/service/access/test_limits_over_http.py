"""What keys promise, at the surfaces: quotas, scopes, and whose job is whose."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.fronts.fake_worker import Script
from tests.service.access.test_guard import Locked, bearer
from tests.service.harness import JPEG, SELFIE, client_of, until


async def run(locked: Locked, scenario: Any) -> Any:
    async with client_of(locked.service) as client:
        return await scenario(client)


def make(client: httpx.AsyncClient, key: str, query: str = "", **headers: str) -> Any:
    return client.post(f"/v1/portraits?{query}", content=SELFIE, headers=JPEG | bearer(key) | headers)


async def test_images_over_the_quota_are_429_with_a_time_and_a_name(tmp_path: Path) -> None:
    locked = Locked(tmp_path)
    key = locked.add("preview", images_per_minute=3)

    async def scenario(client: httpx.AsyncClient) -> Any:
        return await make(client, key, "n=2"), await make(client, key, "n=2"), await make(client, key, "n=4")

    good, over, never = await run(locked, scenario)
    assert good.status_code == 200
    assert good.headers["ratelimit"] == '"images";r=1;t=20'
    problem = over.json()
    assert (over.status_code, problem["code"], problem["violated-policies"]) == (429, "images_used_up", ["images"])
    assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert int(over.headers["retry-after"]) == problem["retry_after_seconds"] == 20
    assert over.headers["ratelimit-policy"] == '"images";q=3;qu="images";w=60'
    assert (never.status_code, never.json()["code"], never.json()["field"]) == (400, "n_over_quota", "n")


async def test_a_job_that_made_no_image_costs_none(tmp_path: Path) -> None:
    locked = Locked(tmp_path)
    key = locked.add("preview", images_per_minute=3)

    async def scenario(client: httpx.AsyncClient) -> Any:
        wrong = await make(client, key, "size=1x1")
        unread = await client.post("/v1/portraits", content=b"bad", headers=JPEG | bearer(key))
        return wrong, unread, await client.get("/v1/styles", headers=bearer(key))

    wrong, unread, after = await run(locked, scenario)
    assert (wrong.status_code, unread.status_code) == (400, 422)
    assert after.headers["ratelimit"].startswith('"images";r=3;')


async def test_jobs_at_once_are_bounded_by_key_and_others_are_served(tmp_path: Path) -> None:
    locked = Locked(tmp_path, script=Script(step_seconds=0.05))
    key = locked.add("preview", jobs_in_flight=1)

    async def scenario(client: httpx.AsyncClient) -> Any:
        first = asyncio.create_task(make(client, key, "prompt=STALL&deadline=2"))
        await until(lambda: locked.service.fakes[0].orders)
        return await make(client, key), await make(client, locked.preview), await first, await make(client, key)

    second, other, first, after = await run(locked, scenario)
    assert (second.status_code, second.json()["code"]) == (429, "too_many_jobs")
    assert int(second.headers["retry-after"]) >= 1
    assert other.status_code == 200
    assert first.status_code == 504
    assert after.status_code == 200


async def test_a_job_is_its_callers_whatever_key_they_hold_and_nobody_elses(tmp_path: Path) -> None:
    locked = Locked(tmp_path)
    same = locked.add("preview", caller="preview-caller")
    rival = locked.add("preview", caller="rival")

    async def scenario(client: httpx.AsyncClient) -> list[int]:
        made = await make(client, locked.preview, Prefer="respond-async")
        assert made.status_code == 202, made.text
        path = made.headers["location"]
        return [(await client.get(path, headers=bearer(key))).status_code for key in (locked.preview, same, rival)]

    assert await run(locked, scenario) == [200, 200, 404]


@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1/predictions", "/predictions", "/v1/portraits"])
async def test_every_surface_refuses_a_missing_key_in_its_own_form(tmp_path: Path, path: str) -> None:
    answer = await run(Locked(tmp_path), lambda client: client.post(path, json={}))
    assert answer.status_code == 401
    assert "needs an API key" in answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    if path == "/v1/images/edits":
        assert answer.json()["error"]["type"] == "authentication_error"


async def test_a_key_without_the_scope_makes_nothing(tmp_path: Path) -> None:
    locked = Locked(tmp_path)
    answer = await run(locked, lambda client: make(client, locked.admin))
    assert (answer.status_code, answer.json()["code"], answer.json()["scope"]) == (403, "scope_missing", "preview")
    assert locked.service.fakes[0].orders == []
