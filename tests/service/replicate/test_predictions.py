"""Predictions over a worker that computes nothing: creation, waiting, polling, cancelling, pages, streams, files."""

import asyncio
import base64
import gc

import pytest

from scripts.fronts.fake_worker import Script
from service.access.caller import ANONYMOUS
from service.api.replicate.files import Files, read_uri
from service.api.replicate.predictions import Prediction
from service.errors import ServiceError
from tests.service.clients import PICTURE, calling, one, send_and_leave
from tests.service.harness import SELFIE, build_service, client_of, until

MODEL = "/v1/models/tencentarc/photomaker/predictions"
OWN = "/v1/models/proofsheet/portraits/predictions"
VERSION = "ddfc2b08d209f9fa8c1eca692712918bd449f695dabb4a958da31802a9570fe4"
WAIT = {"Prefer": "wait"}


def inputs(**more):
    return {"input": {"input_image": PICTURE, "prompt": "a photo of a man img"} | more}


def own(prompt="a woman", **more):
    return {"input": {"image": PICTURE, "prompt": prompt, **more}}


async def test_a_prediction_by_name_or_by_version_is_the_same():
    by_name = await one("POST", MODEL, json=inputs(num_outputs=2, seed=7), headers=WAIT)
    by_version = await one(
        "POST", "/v1/predictions", json=inputs(num_outputs=2, seed=7) | {"version": VERSION}, headers=WAIT
    )
    assert (by_name.status_code, by_version.status_code) == (201, 201)
    assert by_name.json()["output"] == by_version.json()["output"]
    assert by_name.json()["version"] == by_version.json()["version"] == VERSION


async def test_a_finished_prediction_has_all_that_the_client_reads():
    answer = await one("POST", MODEL, json=inputs(seed=7, num_steps=30), headers=WAIT)
    body = answer.json()
    assert base64.b64decode(body["output"][0].removeprefix("data:image/png;base64,")) == b"image of seed 7"
    assert (body["status"], body["error"], body["model"]) == ("succeeded", None, "tencentarc/photomaker")
    assert set(body["metrics"]) == {"predict_time", "total_time"}
    assert body["created_at"] <= body["started_at"] <= body["completed_at"] <= body["deadline"]
    assert body["logs"].splitlines()[-1] == "100%|##########| 20/20"
    assert set(body["urls"]) == {"get", "cancel", "stream", "web"}
    assert answer.headers["preference-applied"] == "wait"


async def test_neither_prompt_nor_picture_comes_back():
    body = (await one("POST", MODEL, json=inputs(seed=7, num_steps=30, negative_prompt="secret"), headers=WAIT)).json()
    assert body["input"] == {"seed": 7, "num_steps": 30}


async def test_without_prefer_it_starts_and_is_polled():
    async with client_of(build_service()) as client:
        made = (await client.post(OWN, json=own())).json()
        while (now := (await client.get(made["urls"]["get"])).json())["status"] in ("starting", "processing"):
            await asyncio.sleep(0.01)
    assert (made["status"], made["output"]) == ("starting", None)
    assert (now["status"], len(now["output"])) == ("succeeded", 1)


async def test_a_wait_that_expires_says_starting_whatever_the_job_does():
    async with client_of(build_service()) as client:
        answer = await client.post(OWN, json=own("STALL"), headers={"Prefer": "wait=1"})
        state = (await client.get(answer.json()["urls"]["get"])).json()["status"]
        await client.post(answer.json()["urls"]["cancel"])
    assert (answer.status_code, answer.json()["status"], state) == (201, "starting", "processing")
    assert answer.headers["preference-applied"] == "wait=1"


async def test_cancelling_gives_the_whole_prediction_and_touches_no_other():
    service = build_service(script=Script(step_seconds=0.01))

    async with client_of(service) as client:
        first, second = [(await client.post(OWN, json=own("STALL"))).json() for _ in range(2)]
        await until(lambda: len(service.fakes[0].orders) == 2)
        cancelled = (await client.post(first["urls"]["cancel"])).json()
        again = (await client.post(first["urls"]["cancel"])).json()
        await until(lambda: service.cancelled)
        other = (await client.get(second["urls"]["get"])).json()
        await client.post(second["urls"]["cancel"])
    assert (cancelled["id"], cancelled["status"], again["status"]) == (first["id"], "canceled", "canceled")
    assert other["status"] == "processing"
    assert service.cancelled[0] == first["id"]


@pytest.mark.parametrize(
    ("make", "place"),
    [(("POST", OWN), "/v1/predictions/{id}"), (("PUT", "/predictions/mine-1"), "/predictions/mine-1")],
    ids=["replicate", "cog"],
)
async def test_delete_of_an_ended_prediction_leaves_nothing_of_it(make, place):
    service = build_service(cog_model="proofsheet/portraits")
    async with client_of(service) as client:
        made = (await client.request(*make, json=own(), headers=WAIT)).json()
        place = place.format(id=made["id"])
        first, again = await client.delete(place), await client.delete(place)
        later = await client.get(f"/v1/predictions/{made['id']}")
        listed = (await client.get("/v1/predictions")).json()["results"]
        made_again = (await client.request(*make, json=own(), headers=WAIT)).json()
    assert made["status"] == made_again["status"] == "succeeded"
    assert [answer.status_code for answer in (first, again, later)] == [204, 404, 404]
    assert listed == []
    assert len(service.fakes[0].orders) == 2


async def test_a_prediction_goes_with_its_job_and_does_not_keep_the_pictures():
    service = build_service(result_seconds=0.05)
    async with client_of(service) as client:
        made = (await client.post(OWN, json=own(), headers=WAIT)).json()
        async with asyncio.timeout(5):
            while (await client.get(made["urls"]["get"])).status_code != 404:
                await asyncio.sleep(0.01)
        assert not any(isinstance(thing, Prediction) and thing.id == made["id"] for thing in gc.get_objects())


async def test_cancel_after_ends_a_prediction_as_canceled():
    async with client_of(build_service()) as client:
        made = (await client.post(OWN, json=own("STALL"), headers={"Cancel-After": "0.2s"})).json()
        while (now := (await client.get(made["urls"]["get"])).json())["status"] in ("starting", "processing"):
            await asyncio.sleep(0.02)
    assert (now["status"], now["code"]) == ("canceled", "deadline_exceeded")


@pytest.mark.parametrize("header", ["soon", "-1s", "0", "1000h"])
async def test_a_wrong_cancel_after_is_refused(header):
    answer = await one("POST", OWN, json=own(), headers={"Cancel-After": header})
    assert answer.status_code == 422
    assert "Cancel-After" in answer.json()["detail"]


async def test_a_job_that_fails_is_a_failed_prediction_not_a_refusal():
    answer = await one("POST", OWN, json=own("FAIL:no_face:caller"), headers=WAIT)
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"], body["error"]) == (
        201,
        "failed",
        "no_face",
        "As scripted.",
    )


async def test_who_waits_and_leaves_takes_the_prediction_along_and_who_does_not_wait_does_not():
    service = build_service(script=Script(step_seconds=0.01))

    async with client_of(service) as client:
        request = client.build_request("POST", OWN, json=own("STALL"), headers=WAIT)
        await send_and_leave(client.send(request), service)
        made = (await client.post(OWN, json=own("STALL"))).json()
        await asyncio.sleep(0.05)
        state = (await client.get(made["urls"]["get"])).json()["status"]
        await client.post(made["urls"]["cancel"])
    assert state in ("starting", "processing")


async def test_the_list_has_pages_without_pictures(monkeypatch):
    monkeypatch.setattr("service.api.replicate.routes.PAGE_SIZE", 2)

    async with client_of(build_service()) as client:
        ids = [(await client.post(OWN, json=own(), headers=WAIT)).json()["id"] for _ in range(5)]
        pages = [(await client.get("/v1/predictions")).json()]
        while pages[-1]["next"]:
            pages.append((await client.get(pages[-1]["next"])).json())
        back = (await client.get(pages[-1]["previous"])).json()
        lost = await client.get("/v1/predictions?cursor=nope")
    listed = [[prediction["id"] for prediction in page["results"]] for page in pages]
    newest = ids[::-1]
    assert listed == [newest[:2], newest[2:4], newest[4:]]
    assert [prediction["id"] for prediction in back["results"]] == newest[2:4]
    assert all(prediction["output"] is None for page in pages for prediction in page["results"])
    assert lost.json()["code"] == "cursor_not_found"


async def test_the_stream_has_an_id_for_every_event_and_only_names_that_the_client_knows():
    async with client_of(build_service()) as client:
        made = (await client.post(OWN, json=own(n=2))).json()
        whole = (await client.get(made["urls"]["stream"])).text
        rest = (await client.get(made["urls"]["stream"], headers={"Last-Event-ID": "6"})).text
    events = [dict(line.split(": ", 1) for line in block.splitlines()) for block in whole.strip().split("\n\n")]
    assert all(event["id"].isdigit() for event in events)
    names = [event["event"] for event in events]
    assert set(names) == {"logs", "output", "done"}
    assert (names.count("output"), names[-1]) == (2, "done")
    assert whole.endswith(rest)


@pytest.mark.parametrize(("prompt", "told"), [("FAIL:no_face:caller", ["error", "done"]), ("STALL", ["done"])])
async def test_a_stream_ends_with_the_reason(prompt, told):
    async with client_of(build_service()) as client:
        made = (await client.post(OWN, json=own(prompt))).json()
        following = asyncio.create_task(client.get(made["urls"]["stream"]))
        await asyncio.sleep(0.05)
        await client.post(made["urls"]["cancel"])
        text = (await following).text
    assert [line.split(": ")[1] for line in text.splitlines() if line.startswith("event:")] == told


async def test_a_file_is_uploaded_once_and_named_in_a_prediction():
    async with client_of(build_service()) as client:
        made = await client.post("/v1/files", files={"content": ("me.jpg", SELFIE, "image/jpeg")})
        url = made.json()["urls"]["get"]
        answers = [await client.post(OWN, json={"input": {"image": url, "prompt": "a"}}, headers=WAIT) for _ in (1, 2)]
        listed = (await client.get("/v1/files")).json()["results"]
        gone = await client.delete(url)
        after = await client.post(OWN, json={"input": {"image": url, "prompt": "a"}}, headers=WAIT)
    assert made.status_code == 201
    assert (made.json()["size"], made.json()["content_type"]) == (len(SELFIE), "image/jpeg")
    assert "me.jpg" not in made.text
    assert [answer.json()["status"] for answer in answers] == ["succeeded", "succeeded"]
    assert [file["id"] for file in listed] == [made.json()["id"]]
    assert gone.status_code == 204
    assert (after.status_code, after.json()["code"]) == (422, "file_not_found")


async def test_files_have_a_bound_and_a_time_and_are_wiped():
    files = Files(seconds=0.05, max_total_bytes=100)
    data = bytearray(b"x" * 80)
    file = files.add(ANONYMOUS, "image/jpeg", data)
    with pytest.raises(ServiceError) as full:
        files.add(ANONYMOUS, "image/jpeg", bytearray(30))
    stranger = type(ANONYMOUS)(id="stranger", scopes=ANONYMOUS.scopes)
    with pytest.raises(ServiceError) as foreign:
        read_uri("image", f"http://front/v1/files/{file.id}", files, stranger, max_bytes=100)
    await until(lambda: files.num_bytes == 0)
    full, foreign = full.value, foreign.value
    assert (full.status, full.code, foreign.code) == (503, "files_full", "file_not_found")
    assert not any(data)


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"x"}, 415, "unsupported_media"),
        ({"files": {"nope": ("a", b"x")}}, 400, "unknown_field"),
        ({"files": {"content": ("a", b"")}}, 400, "file_missing"),
        ({"files": {"metadata": (None, "{}")}}, 400, "file_missing"),
        ({"files": {"content": ("a", b"x"), "metadata": (None, "[")}}, 400, "invalid_field"),
        ({"files": [("content", ("a", b"x")), ("content", ("a", b"x"))]}, 400, "duplicate_field"),
        (
            {"content": b"--b\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
            400,
            "form_malformed",
        ),
    ],
)
async def test_a_wrong_file_is_refused(options, status, code):
    answer = await one("POST", "/v1/files", **options)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_file_over_the_limit_is_refused():
    service = build_service(max_image_bytes=1000)
    answer = await one("POST", "/v1/files", service=service, files={"content": ("a", b"x" * 1001)})
    assert (answer.status_code, answer.json()["code"]) == (413, "image_too_many_bytes")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "field_missing", "input"),
        ({"input": []}, "invalid_field", "input"),
        ({"input": {}}, "field_missing", "input_image"),
        (inputs(input_image="https://example.org/me.jpg"), "image_not_inline", "input_image"),
        (inputs(input_image="ftp://x"), "image_not_inline", "input_image"),
        (inputs(input_image="data:image/png;base64,!"), "image_not_base64", "input_image"),
        (inputs(input_image2="http://10.0.0.1/v1/files/abc"), "file_not_found", "input_image2"),
        (inputs() | {"nope": 1}, "unknown_field", "nope"),
        (inputs() | {"webhook": 5}, "invalid_field", "webhook"),
        (inputs() | {"webhook": "http://127.0.0.1/hook"}, "webhook_not_https", None),
        (inputs() | {"webhook": "https://127.0.0.1/hook"}, "webhook_not_public", None),
        (inputs() | {"webhook_events_filter": ["finished"]}, "invalid_field", "webhook_events_filter"),
        (inputs() | {"stream": "yes"}, "invalid_field", "stream"),
        (inputs() | {"id": "a b"}, "invalid_field", "id"),
    ],
)
async def test_a_wrong_creation_is_refused_with_422_and_a_sentence(body, code, field):
    answer = await one("POST", MODEL, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert field is None or problem["field"] == field
    assert problem["detail"].endswith((".", "?"))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/predictions/nope", 404, "prediction_not_found"),
        ("POST", "/v1/predictions/nope/cancel", 404, "prediction_not_found"),
        ("GET", "/v1/predictions/nope/stream", 404, "prediction_not_found"),
        ("GET", "/v1/files/nope", 404, "file_not_found"),
        ("DELETE", "/v1/files/nope", 404, "file_not_found"),
        ("GET", "/v1/models/no/pe", 404, "model_not_found"),
        ("GET", "/v1/models/tencentarc/photomaker/versions/nope", 404, "version_not_found"),
        ("POST", "/v1/models/no/pe/predictions", 404, "model_not_found"),
        ("POST", "/v1/deployments/no/pe/predictions", 404, "model_not_found"),
        ("POST", "/v1/predictions", 415, "unsupported_media"),
        ("PUT", "/v1/predictions", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_a_problem_with_a_code(method, path, status, code):
    answer = await one(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_unknown_version_names_the_known_models():
    answer = await one("POST", "/v1/predictions", json=inputs() | {"version": "0" * 64})
    assert (answer.status_code, answer.json()["code"]) == (422, "version_unknown")
    assert "tencentarc/photomaker" in answer.json()["allowed"]


async def test_the_schema_of_a_version_is_what_cog_would_say():
    versions = (await one("GET", "/v1/models/zsxkib/instant-id/versions")).json()["results"]
    assert [version["id"][:8] for version in versions] == ["2e4785a4", "491ddf5b"]
    schemas = versions[0]["openapi_schema"]["components"]["schemas"]
    assert schemas["Input"]["properties"]["ip_adapter_scale"]["default"] == 0.8
    assert schemas["Output"]["type"] == "array"


async def test_everything_known_of_a_version_is_told_twice_the_same():
    pages = await calling(("GET", "/v1/models/tencentarc/photomaker", {}), ("GET", "/v1/models", {}))
    assert pages[0].json() == pages[1].json()["results"][0]
