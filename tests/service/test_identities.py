"""POST /v1/identities and portraits from a token, over a fake worker: what is sealed, sent and refused."""

import asyncio
import time

import msgspec
import pytest

from scripts.fronts.fake_worker import BUNDLE
from service.access.caller import Caller
from service.jobs.sealing import Sealer
from service.jobs.tokens import KeptIdentity
from tests.orders import order_of
from tests.service.harness import JPEG, SELFIE, build_service, client_of

PNG_NAME = ("selfie.png", SELFIE, "image/png")


async def run_in(service, scenario):
    async with client_of(service) as client:
        return await scenario(client)


async def enrol(client, query=""):
    return await client.post(f"/v1/identities?{query}", content=SELFIE, headers=JPEG)


async def token_of(client, query=""):
    return (await enrol(client, query)).json()["identity"]


def sealed(service, *, caller_id="anonymous", kind="identity", seconds=60.0, revision=BUNDLE.revision):
    """A token that the service would open, but for what is asked to be wrong."""
    kept = KeptIdentity("photomaker-v2", revision, b"an identity")
    return service.front.sealer.seal(kind, msgspec.msgpack.encode(kept), caller_id, seconds)


async def test_selfies_become_a_token_and_a_report_and_no_picture_is_made():
    service = build_service()
    answer = await run_in(service, enrol)
    assert answer.status_code == 200
    body = answer.json()
    assert body["identity"].startswith("identity.")
    assert (body["model"], body["adapter"]) == ("fake", "photomaker-v2")
    assert [face["verdict"] for face in body["faces"]] == ["ok"]
    left = time.mktime(time.strptime(body["expires_at"], "%Y-%m-%dT%H:%M:%SZ")) - time.mktime(time.gmtime())
    assert 3590 <= left <= 3605
    assert answer.headers["cache-control"] == "no-store"
    assert service.fakes[0].orders[0].seeds == []
    assert service.figure("images_total", format="jpeg") == 0


async def test_several_selfies_make_one_identity():
    async def scenario(client):
        files = [("image", PNG_NAME), ("image", PNG_NAME)]
        return await client.post("/v1/identities", files=files, data={"adapter": "instantid"})

    answer = await run_in(build_service(), scenario)
    assert len(answer.json()["faces"]) == 2
    assert answer.json()["adapter"] == "instantid"


@pytest.mark.parametrize("way", ["multipart", "json", "form", "file with a line's end"])
async def test_a_token_takes_the_place_of_the_selfies(way):
    service = build_service()

    async def scenario(client):
        token = await token_of(client, "adapter=instantid")
        fields = {"identity": token, "seed": "7", "style": "corporate"}
        if way == "json":
            return await client.post("/v1/portraits", json=fields | {"seed": 7})
        if way == "form":
            return await client.post("/v1/portraits", data=fields)
        line = "\n" if way.startswith("file") else ""
        parts = {name: (None, value + line * (name == "identity")) for name, value in fields.items()}
        return await client.post("/v1/portraits", files=parts)

    answer = await run_in(service, scenario)
    assert answer.status_code == 200, answer.json()
    assert answer.json()["images"][0]["seed"] == 7
    assert answer.json()["adapter"] == "instantid"
    sent = service.fakes[0].orders[-1]
    assert sent.identity == b"an identity, as a worker packs it"
    assert sent.adapter == "instantid"
    assert len(service.decoders.seen) == 1  # the enrolment's; the portrait needed none
    assert service.figure("tokens_opened_total", kind="identity") == 1


async def test_a_token_in_the_query_and_a_selfie_are_one_too_many():
    async def scenario(client):
        token = await token_of(client)
        return await client.post("/v1/portraits", files={"image": PNG_NAME}, data={"identity": token})

    answer = await run_in(build_service(), scenario)
    assert (answer.status_code, answer.json()["code"]) == (400, "identity_and_image")


async def test_neither_selfies_nor_a_token_are_too_few():
    answer = await run_in(build_service(), lambda client: client.post("/v1/portraits", json={"style": "corporate"}))
    assert (answer.status_code, answer.json()["code"]) == (400, "image_missing")


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"caller_id": "somebody-else"}, 403, "token_foreign"),
        ({"seconds": -5.0}, 400, "token_expired"),
        ({"kind": "proof"}, 400, "token_wrong_kind"),
        ({"revision": "0"}, 400, "identity_wrong_bundle"),
    ],
)
async def test_a_token_that_is_not_for_this_is_refused_with_its_reason(wrong, status, code):
    service = build_service()
    answer = await run_in(
        service, lambda client: client.post("/v1/portraits", json={"identity": sealed(service, **wrong)})
    )
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, "identity")
    assert service.fakes[0].orders == []


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda token: token[:-10] + ("A" if token[-10] != "A" else "B") + token[-9:], "token_tampered"),
        (lambda token: token[: len(token) // 2], "token_"),
        (lambda token: "identity.!!", "token_malformed"),
        (lambda token: "a cat", "token_malformed"),
    ],
)
async def test_a_damaged_token_is_refused_and_never_quoted(harm, code):
    async def scenario(client):
        broken = harm(await token_of(client))
        return broken, await client.post("/v1/portraits", json={"identity": broken})

    broken, answer = await run_in(build_service(), scenario)
    assert answer.status_code == 400
    assert answer.json()["code"].startswith(code)
    assert len(broken) < 10 or broken not in answer.text


async def test_a_token_of_another_server_is_refused():
    foreign = Sealer.with_random_key().seal("identity", b"x", "anonymous", 60)
    answer = await run_in(build_service(), lambda client: client.post("/v1/portraits", json={"identity": foreign}))
    assert (answer.status_code, answer.json()["code"]) == (400, "token_unknown_key")


async def test_an_identity_of_another_adapter_is_refused_with_the_right_one():
    async def scenario(client):
        return await client.post("/v1/portraits", json={"identity": await token_of(client), "adapter": "instantid"})

    answer = await run_in(build_service(), scenario)
    assert (answer.status_code, answer.json()["code"]) == (400, "identity_wrong_adapter")
    assert answer.json()["allowed"] == ["photomaker-v2"]


@pytest.mark.parametrize("query", ["style=corporate", "n=2", "seed=1", "format=png", "identity=abc"])
async def test_a_field_about_a_picture_is_not_taken_where_none_is_made(query):
    answer = await run_in(build_service(), lambda client: enrol(client, query))
    assert answer.status_code == 400
    assert answer.json()["code"] in ("unknown_field", "identity_and_image")


async def test_an_unknown_adapter_is_refused_before_a_photo_is_decoded():
    service = build_service()
    answer = await run_in(service, lambda client: enrol(client, "adapter=ip-adapter"))
    assert (answer.status_code, answer.json()["code"]) == (400, "adapter_not_warm")
    assert service.decoders.seen == []


async def test_nothing_of_an_identity_stays_in_the_service():
    service = build_service()

    async def scenario(client):
        await token_of(client)
        kept = await client.post("/v1/portraits", content=SELFIE, headers=JPEG | {"Prefer": "respond-async"})
        async with asyncio.timeout(5):
            while (await client.get(kept.headers["location"])).json()["status"] != "succeeded":
                await asyncio.sleep(0.01)
        jobs = service.front.jobs
        job = jobs.find(kept.json()["id"], Caller(id="anonymous", scopes=frozenset()))
        events = [logged.event async for logged in job.follow()]
        return job, events

    job, events = await run_in(service, scenario)
    assert job.started.identity is None
    assert all(getattr(event, "identity", None) is None for event in events)
    assert job.tokens.proof is None
    assert len(job.tokens.proofs) == 1


def test_an_identity_that_no_token_holds_is_refused_with_the_sizes():
    service = build_service()
    caller = Caller(id="me", scopes=frozenset())
    with pytest.raises(Exception, match="identity_too_large") as caught:
        service.front.vault.seal_identity(KeptIdentity("ip-adapter", "1", bytes(500_000)), caller)
    assert caught.value.value > caught.value.limit


def test_no_repr_shows_an_identity():
    kept = KeptIdentity("photomaker-v2", "1", b"secret")
    order = order_of(job_id="a", selfies=[], prompt="secret", seeds=[1], deadline_seconds=1, identity=b"secret")
    assert "secret" not in f"{kept!r} {order!r}"
