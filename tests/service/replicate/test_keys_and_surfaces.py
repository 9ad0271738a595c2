"""Keys on the foreign surfaces: each refuses in its own shape, and no caller finds another's predictions and files."""

import pytest

from tests.service.access.test_guard import Locked, bearer
from tests.service.clients import PICTURE
from tests.service.harness import SELFIE, client_of

OWN = "/v1/models/proofsheet/portraits/predictions"


@pytest.fixture
def locked(tmp_path):
    return Locked(tmp_path)


async def asked(locked, *requests):
    async with client_of(locked.service) as client:
        return [await client.request(method, path, headers=headers) for method, path, headers in requests]


async def test_without_a_key_each_surface_refuses_in_its_own_shape(locked):
    openai, replicate, cog = await asked(
        locked, ("POST", "/v1/images/edits", {}), ("GET", "/v1/predictions", {}), ("POST", "/predictions", {})
    )
    assert [answer.status_code for answer in (openai, replicate, cog)] == [401, 401, 401]
    assert (openai.json()["error"]["type"], openai.json()["error"]["code"]) == ("authentication_error", "key_missing")
    assert openai.headers["x-should-retry"] == "false"
    assert replicate.json()["code"] == "key_missing"
    assert isinstance(cog.json()["detail"], str)


async def test_older_clients_of_replicate_write_token_for_bearer(locked):
    [answer] = await asked(locked, ("GET", "/v1/predictions", {"Authorization": f"Token {locked.preview}"}))
    assert answer.status_code == 200


async def test_the_root_the_health_and_the_documents_need_no_key(locked):
    paths = ("/", "/health-check", "/openapi.json", "/docs", "/docs/style.css")
    assert [answer.status_code for answer in await asked(locked, *(("GET", path, {}) for path in paths))] == [200] * 5


async def test_a_caller_finds_only_its_own_predictions_and_files(locked):
    mine, other = bearer(locked.preview), bearer(locked.add("preview", caller="stranger"))

    async with client_of(locked.service) as client:
        body = {"input": {"image": PICTURE, "prompt": "a woman"}}
        made = (await client.post(OWN, json=body, headers=mine | {"Prefer": "wait"})).json()
        file = (await client.post("/v1/files", files={"content": ("a", SELFIE)}, headers=mine)).json()
        stolen = {"input": {"image": file["urls"]["get"], "prompt": "a woman"}}
        own, others, *refused = [
            (await client.get("/v1/predictions", headers=mine)).json()["results"],
            (await client.get("/v1/predictions", headers=other)).json()["results"],
            await client.get(made["urls"]["get"], headers=other),
            await client.post(made["urls"]["cancel"], headers=other),
            await client.get(file["urls"]["get"], headers=other),
            await client.post(OWN, json=stolen, headers=other),
        ]
    assert (len(own), others) == (1, [])
    assert [answer.status_code for answer in refused] == [404, 404, 404, 422]


async def test_every_caller_has_a_webhook_secret_of_its_own(locked):
    keys = [bearer(locked.preview), bearer(locked.add("preview", caller="stranger"))]
    answers = await asked(locked, *(("GET", "/v1/webhooks/default/secret", key) for key in keys))
    assert len({answer.json()["key"] for answer in answers}) == 2
