"""One door on every surface: who would be refused afterwards is refused before the body; who only joins is let in."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts.fronts.fake_worker import Script
from tests.service.access.test_guard import Locked, bearer
from tests.service.clients import PICTURE
from tests.service.harness import JPEG, SELFIE, build_service, client_of, until

KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
JSON = {"Content-Type": "application/json"}
INPUT = {"input": {"image": PICTURE}}


@dataclass
class Door:
    """A request that takes a body."""

    path: str
    body: bytes
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: JSON)


def json_door(path: str, body: dict[str, Any], method: str = "POST") -> Door:
    return Door(path, json.dumps(body).encode(), method)


PORTRAIT = Door("/v1/portraits", SELFIE, headers=JPEG)
STALLING = Door("/v1/portraits?prompt=STALL", SELFIE, headers=JPEG)
JOINING = [
    PORTRAIT,
    json_door("/v1/images/edits", {"prompt": "a woman", "images": [{"image_url": PICTURE}]}),
    json_door("/v1/predictions", INPUT | {"version": "proofsheet/portraits"}),
    json_door("/v1/models/proofsheet/portraits/predictions", INPUT),
    json_door("/v1/deployments/proofsheet/portraits/predictions", INPUT),
    json_door("/predictions", INPUT),
]
OF_TOKENS = [
    json_door("/v1/finals", {"proof": "proof.of-a-picture"}),
    json_door("/v1/images/generations", {"prompt": "a woman", "identity": "identity.of-somebody"}),
]
OTHERS = [
    Door("/v1/identities", SELFIE, headers=JPEG),
    Door("/v1/files", b"--x--", headers={"Content-Type": "multipart/form-data; boundary=x"}),
    json_door("/predictions/mine-1", INPUT, "PUT"),
]
DOORS = [*JOINING, *OF_TOKENS, *OTHERS]


def named(door: Door) -> str:
    return f"{door.method} {door.path}"


def send(client: httpx.AsyncClient, door: Door, content: Any = None, **headers: str) -> Any:
    return client.request(door.method, door.path, content=content or door.body, headers=door.headers | headers)


@pytest.mark.parametrize("door", DOORS, ids=named)
async def test_who_has_their_whole_share_is_refused_before_the_body_is_read(tmp_path: Path, door: Door) -> None:
    locked = Locked(tmp_path, max_jobs=4)
    hungry = locked.add("preview", caller="hungry", scopes=frozenset({"preview", "final"}))
    chunks_read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        chunks_read.append(len(door.body))
        yield door.body

    async def scenario(client: httpx.AsyncClient) -> Any:
        for _ in range(2):  # of four places, as one is kept for whoever comes next
            started = await client.post(
                "/v1/portraits?prompt=STALL",
                content=SELFIE,
                headers=JPEG | bearer(hungry) | {"Prefer": "respond-async"},
            )
            assert started.status_code == 202
        refused = await send(client, door, body(), **bearer(hungry))
        other = await send(client, PORTRAIT, **bearer(locked.preview))
        return refused, other

    async with client_of(locked.service) as client:
        refused, other = await scenario(client)
    problem = refused.json()
    code = problem["error"]["code"] if door.path.startswith("/v1/images") else problem["code"]
    assert (refused.status_code, code) == (503, "share_full")
    assert int(refused.headers["retry-after"]) >= 1
    assert chunks_read == []
    assert other.status_code == 200


@pytest.mark.parametrize("door", JOINING, ids=named)
async def test_on_a_full_service_a_new_request_is_refused_and_a_replay_joins(door: Door) -> None:
    service = build_service(max_jobs=1, cog_model="proofsheet/portraits")
    service.decoders.seconds = 0.1

    async with client_of(service) as client:
        first = asyncio.create_task(send(client, door, **KEY))
        await until(lambda: service.front.jobs.in_flight)
        refused = await send(client, door)
        again = await send(client, door, **KEY)
        first = await first
    assert refused.status_code == 503
    assert again.status_code == first.status_code
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(service.fakes[0].orders) == 1


@pytest.mark.parametrize("door", OF_TOKENS, ids=named)
async def test_a_replay_with_a_token_in_place_of_selfies_joins_on_a_full_service_too(door: Door) -> None:
    service = build_service(script=Script(step_seconds=0.02), max_jobs=1)

    async with client_of(service) as client:
        with_token = await with_a_real_token(client, door)
        await until(lambda: not service.front.jobs.in_flight)
        made = len(service.fakes[0].orders)
        first = asyncio.create_task(send(client, with_token, **KEY))
        await until(lambda: len(service.fakes[0].orders) > made)
        refused = await send(client, with_token)
        again = await send(client, with_token, **KEY)
        first = await first
    assert (refused.status_code, again.status_code, first.status_code) == (503, 200, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotency-replayed"] == "true"


async def with_a_real_token(client: httpx.AsyncClient, door: Door) -> Door:
    body = json.loads(door.body)
    if "proof" in body:
        made = await client.post("/v1/portraits", content=SELFIE, headers=JPEG)
        return json_door(door.path, body | {"proof": made.json()["images"][0]["proof"]})
    made = await client.post("/v1/identities", content=SELFIE, headers=JPEG)
    return json_door(door.path, body | {"identity": made.json()["identity"]})


async def test_a_prediction_of_the_callers_own_id_is_found_again_on_a_full_service_with_its_key() -> None:
    service = build_service(script=Script(step_seconds=0.02), max_jobs=1, cog_model="proofsheet/portraits")
    door = json_door("/predictions/mine-1", INPUT, "PUT")

    async with client_of(service) as client:
        first = asyncio.create_task(send(client, door, **KEY))
        await until(lambda: service.fakes[0].orders)
        again, first = await send(client, door, **KEY), await first
    assert (again.status_code, first.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"] == "mine-1"


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/portraits", 400), ("/v1/images/edits", 400), ("/v1/predictions", 422)]
)
@pytest.mark.parametrize("header", ["Idempotency-Key", "Cancel-After"])
async def test_a_header_that_is_wrong_is_refused_in_the_surfaces_own_way(path: str, status: int, header: str) -> None:
    [door] = [door for door in JOINING if door.path == path]

    async with client_of(build_service()) as client:
        answer = await send(client, door, **{header: "a b"})
    problem = answer.json().get("error", answer.json())
    assert (answer.status_code, problem["header"]) == (status, header)
