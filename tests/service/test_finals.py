"""POST /v1/finals over a fake worker: what a proof holds, what the worker is told, who may, and the refusals."""

import asyncio
import base64

import msgspec
import pytest

from models.wire.bundle_info import FinalInfo
from models.wire.order import Final
from scripts.fronts import fake_worker
from scripts.fronts.fake_worker import BUNDLE, Script
from service.access.key_file import KeyEntry, add_key, parse_keys
from service.access.keys import Keys
from service.jobs.sealing import Sealer
from service.jobs.tokens import Proof
from service.secrets import Secrets
from tests.orders import order_of
from tests.service.harness import JPEG, SELFIE, build_service, client_of, parse_events

SECRET = b"s" * 32


async def run_in(service, scenario):
    async with client_of(service) as client:
        return await scenario(client)


async def preview(client, query="", headers=None):
    return await client.post(f"/v1/portraits?{query}", content=SELFIE, headers=JPEG | (headers or {}))


async def proof_of(client, query="", headers=None):
    return (await preview(client, query, headers)).json()["images"][0]["proof"]


def sealed(service, *, caller_id="anonymous", kind="proof", seconds=60.0, revision=BUNDLE.revision, **order):
    given = {"job_id": "", "prompt": "", "seeds": [1], "deadline_seconds": 1, "width": 256, "height": 256, "steps": 4}
    proof = Proof(order_of(**(given | order)), None, "fake", revision)
    return service.front.sealer.seal(kind, msgspec.msgpack.encode(proof), caller_id, seconds)


async def test_every_picture_has_a_proof_and_a_final_has_none():
    async def scenario(client):
        previews = (await preview(client, "n=3")).json()["images"]
        return previews, (await client.post("/v1/finals", json={"proof": previews[1]["proof"]})).json()["images"]

    previews, finals = await run_in(build_service(), scenario)
    assert len({image["proof"] for image in previews}) == 3
    assert finals[0]["proof"] is None


async def test_the_worker_is_told_the_same_plan_the_same_seed_and_no_selfie():
    service = build_service(preview_mark="PROOF", preview_side=128)
    query = "n=2&seed=7&prompt=a%20person%20in%20rain&negative_prompt=blur&adapter=instantid&framing=wider&lora=film"

    async def scenario(client):
        images = (await preview(client, f"{query}&strength=0.5&steps=6&sampler=lcm&guidance=2")).json()["images"]
        return await client.post("/v1/finals", json={"proof": images[1]["proof"], "format": "png"})

    answer = await run_in(service, scenario)
    assert answer.status_code == 200, answer.json()
    asked, final = service.fakes[0].orders
    assert (asked.delivery.mark, asked.delivery.longest_side) == ("PROOF", 128)
    assert (final.delivery.mark, final.delivery.longest_side) == (None, None)
    assert final.final == Final(size="512x512")
    assert final.seeds == [8]
    assert final.identity == b"an identity, as a worker packs it"
    assert not final.wants_identity
    same = ("words", "adapter", "placing")
    assert {name: getattr(final, name) for name in same} == {name: getattr(asked, name) for name in same}
    same = ("sampler", "steps", "guidance", "strength")
    assert {name: getattr(final.sampling, name) for name in same} == {
        name: getattr(asked.sampling, name) for name in same
    }
    assert (final.sampling.size, final.delivery.format) == ("256x256", "png")
    assert final.deadline_seconds > 25
    assert len(service.decoders.seen) == 1
    body = answer.json()
    assert (body["images"][0]["width"], body["images"][0]["seed"], body["adapter"]) == (512, 8, "instantid")


@pytest.mark.parametrize(
    ("query", "frozen"),
    [("", "front"), ("adapter=instantid", "front"), ("adapter=instantid&framing=closer", "closer")],
)
async def test_other_defaults_of_the_bundle_change_no_final_of_an_older_proof(query, frozen, monkeypatch):
    service = build_service()

    async def scenario(client):
        proof = await proof_of(client, query)
        monkeypatch.setattr(fake_worker, "BUNDLE", msgspec.structs.replace(BUNDLE, default_framing="wider"))
        return await client.post("/v1/finals", json={"proof": proof})

    assert (await run_in(service, scenario)).status_code == 200
    assert service.fakes[0].orders[-1].placing.framing == frozen


async def test_the_styles_name_and_figures_come_along():
    service = build_service()

    async def scenario(client):
        return await client.post("/v1/finals", json={"proof": await proof_of(client, "style=corporate")})

    assert (await run_in(service, scenario)).json()["style"] == "corporate"
    assert service.figure("finals_total", format="jpeg") == 1
    assert service.figure("images_total", format="jpeg") == 2
    assert service.figure("tokens_opened_total", kind="proof") == 1


async def test_a_picture_of_a_token_has_a_proof_of_its_own():
    service = build_service()

    async def scenario(client):
        token = (await client.post("/v1/identities", content=SELFIE, headers=JPEG)).json()["identity"]
        portrait = (await client.post("/v1/portraits", json={"identity": token})).json()
        return await client.post("/v1/finals", json={"proof": portrait["images"][0]["proof"]})

    assert (await run_in(service, scenario)).status_code == 200
    assert service.fakes[0].orders[-1].identity == b"an identity, as a worker packs it"


@pytest.mark.parametrize("way", ["form", "multipart"])
async def test_a_proof_may_come_in_a_form(way):
    async def scenario(client):
        fields = {"proof": await proof_of(client), "quality": "80"}
        if way == "form":
            return await client.post("/v1/finals", data=fields)
        return await client.post(
            "/v1/finals", files={name: (None, text + "\n" * (name == "proof")) for name, text in fields.items()}
        )

    answer = await run_in(build_service(), scenario)
    assert answer.status_code == 200, answer.json()


async def test_a_final_is_a_plain_image_events_or_a_job_as_portraits_are():
    async def scenario(client):
        proof = {"proof": await proof_of(client, "seed=5")}
        image = await client.post("/v1/finals", json=proof, headers={"Accept": "image/*"})
        events = await client.post("/v1/finals", json=proof, headers={"Accept": "text/event-stream"})
        later = await client.post("/v1/finals", json=proof, headers={"Prefer": "respond-async"})
        async with asyncio.timeout(5):
            while (done := (await client.get(later.headers["location"])).json())["status"] != "succeeded":
                await asyncio.sleep(0.01)
        return image, parse_events(events.text), later, done

    image, events, later, done = await run_in(build_service(script=Script(step_seconds=0.01)), scenario)
    assert (image.content, image.headers["x-seed"]) == (b"image of seed 5", "5")
    assert "x-proof" not in image.headers
    names = [name for name, _ in events]
    assert (names[0], names[-2:]) == ("queued", ["image", "done"])
    assert later.status_code == 202
    assert base64.b64decode(done["images"][0]["b64"]) == b"image of seed 5"


@pytest.mark.parametrize(
    ("fields", "header", "made"),
    [({}, "image/png", "png"), ({}, "image/webp, image/*;q=0.1", "webp"), ({"format": None}, "image/webp", "webp")],
)
async def test_the_header_names_the_format_of_a_final_that_the_request_leaves_out(fields, header, made):
    async def scenario(client):
        return await client.post(
            "/v1/finals", json={"proof": await proof_of(client)} | fields, headers={"Accept": header}
        )

    answer = await run_in(build_service(), scenario)
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"image/{made}")


async def test_a_final_in_a_format_that_the_header_leaves_out_is_refused():
    async def scenario(client):
        fields = {"proof": await proof_of(client), "format": "jpeg"}
        return await client.post("/v1/finals", json=fields, headers={"Accept": "image/png"})

    answer = await run_in(build_service(), scenario)
    assert (answer.status_code, answer.json()["code"]) == (406, "format_not_accepted")


async def test_a_plain_image_brings_its_proof_in_a_header_if_that_is_short():
    async def scenario(client):
        image = await preview(client, headers={"Accept": "image/*"})
        return await client.post("/v1/finals", json={"proof": image.headers["x-proof"]})

    assert (await run_in(build_service(), scenario)).status_code == 200


async def test_every_job_that_is_fetched_later_has_the_proofs_of_its_first_answer():
    async def scenario(client):
        accepted = await preview(client, headers={"Prefer": "respond-async"})
        place = accepted.headers["location"]
        async with asyncio.timeout(5):
            while (first := (await client.get(place)).json())["status"] != "succeeded":
                await asyncio.sleep(0.01)
        return first, (await client.get(place)).json()

    first, second = await run_in(build_service(), scenario)
    assert first["images"][0]["proof"] == second["images"][0]["proof"]


async def test_a_chosen_size_is_one_of_the_pictures_shape():
    service = build_service()

    async def scenario(client):
        token = await proof_of(client, "size=256x320")
        right = await client.post("/v1/finals", json={"proof": token, "size": "512x640"})
        return right, await client.post("/v1/finals", json={"proof": token, "size": "512x512"})

    right, wrong = await run_in(service, scenario)
    assert (right.json()["images"][0]["width"], right.json()["images"][0]["height"]) == (512, 640)
    assert (wrong.status_code, wrong.json()["code"], wrong.json()["allowed"]) == (400, "unknown_size", ["512x640"])


@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"caller_id": "somebody-else"}, 403, "token_foreign"),
        ({"seconds": -5.0}, 400, "token_expired"),
        ({"kind": "identity"}, 400, "token_wrong_kind"),
        ({"revision": "0"}, 400, "proof_wrong_bundle"),
        ({"width": 320}, 400, "finals_unavailable"),
    ],
)
async def test_a_proof_that_makes_no_final_is_refused_with_its_reason(wrong, status, code):
    service = build_service()
    answer = await run_in(service, lambda client: client.post("/v1/finals", json={"proof": sealed(service, **wrong)}))
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (status, code, "proof")
    assert service.fakes[0].orders == []


async def test_a_bundle_without_finals_says_so(monkeypatch):
    monkeypatch.setattr(fake_worker, "BUNDLE", msgspec.structs.replace(BUNDLE, finals=None))
    service = build_service()
    answer = await run_in(service, lambda client: client.post("/v1/finals", json={"proof": sealed(service)}))
    assert (answer.status_code, answer.json()["code"]) == (400, "finals_unavailable")


@pytest.mark.parametrize(
    "layout",
    [
        [
            {"type": "generate", "job_id": "", "selfies": [], "prompt": "", "seeds": [1], "width": 256},
            None,
            "fake",
            "1",
        ],
        [{"type": "order", "words": {"prompt": ""}, "sampling": {"eta": 0.5}, "seeds": [1]}, None, "fake", "1"],
        "nothing of ours",
    ],
)
async def test_a_proof_that_another_release_has_sealed_is_refused(layout):
    service = build_service()
    token = service.front.sealer.seal("proof", msgspec.msgpack.encode(layout), "anonymous", 60.0)
    answer = await run_in(service, lambda client: client.post("/v1/finals", json={"proof": token}))
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "token_malformed", "proof")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "field_missing", "proof"),
        ({"proof": 5}, "invalid_field", "proof"),
        ({"proof": "proof.AAAA"}, "token_malformed", "proof"),
        ({"proof": "x", "seed": 1}, "unknown_field", "seed"),
        ({"proof": "x", "quality": 101}, "invalid_field", "quality"),
        ({"proof": "x", "format": "gif"}, "invalid_field", "format"),
        ({"proof": "x", "deadline": 1000.0}, "invalid_field", "deadline"),
    ],
)
async def test_wrong_fields_are_named(body, code, field):
    answer = await run_in(build_service(), lambda client: client.post("/v1/finals", json=body))
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, code, field)


async def test_a_body_of_another_kind_and_a_photo_are_refused():
    async def scenario(client):
        return (
            await client.post("/v1/finals", content=SELFIE, headers=JPEG),
            await client.post("/v1/finals", content=b"{", headers={"Content-Type": "application/json"}),
            await client.post("/v1/finals", files={"image": ("a.jpg", SELFIE, "image/jpeg")}, data={"proof": "x"}),
            await client.post("/v1/finals", data={"proof": "x", "image": "y"}),
        )

    answers = await run_in(build_service(), scenario)
    assert [(one.status_code, one.json()["code"]) for one in answers] == [
        (415, "unsupported_media"),
        (400, "json_malformed"),
        (400, "unknown_field"),
        (400, "unknown_field"),
    ]


async def test_finals_need_their_own_scope_and_open_proofs_of_the_callers_other_key(tmp_path):
    path = tmp_path / "keys.toml"

    def add(scope, caller="shop"):
        return add_key(path, SECRET, KeyEntry(caller=caller, hash="0" * 64, scopes=frozenset({scope})))

    keys = {name: {"Authorization": f"Bearer {add(*given)}"} for name, given in WHO.items()}
    secrets = Secrets(
        keys=Keys(lambda: parse_keys(path.read_text()), SECRET),
        sealer=Sealer.with_random_key(),
        webhook_secret=SECRET,
    )

    async def scenario(client):
        proof = {"proof": await proof_of(client, headers=keys["page"])}
        return {name: await client.post("/v1/finals", json=proof, headers=key) for name, key in keys.items()}

    answers = await run_in(build_service(secrets=secrets), scenario)
    assert {name: (one.status_code, one.json().get("code")) for name, one in answers.items()} == {
        "page": (403, "scope_missing"),
        "back end": (200, None),
        "stranger": (403, "token_foreign"),
    }


WHO = {"page": ("preview", "shop"), "back end": ("final", "shop"), "stranger": ("final", "other")}


def test_a_proof_holds_what_its_picture_needs_and_shows_none_of_it():
    proof = Proof(
        order_of(job_id="", selfies=[], prompt="secret", seeds=[1], deadline_seconds=1, identity=b"secret"),
        None,
        "fake",
        "1",
    )
    assert "secret" not in repr(proof)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(proof), type=Proof) == proof


async def test_the_models_page_tells_the_final_sizes():
    answer = await run_in(build_service(), lambda client: client.get("/v1/models"))
    [model] = answer.json()["models"]
    assert msgspec.convert(model["bundle"]["finals"], FinalInfo) == BUNDLE.finals
