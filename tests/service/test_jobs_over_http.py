"""/v1/jobs and the ways to wait: 202, polling, events that resume, cancelling; over a fake worker."""

import asyncio
import base64
import gc

import httpx
import msgspec
import pytest

from models.wire.events import Portrait
from scripts.fronts.fake_worker import Script
from service.api.forms.portrait import PortraitForm
from service.api.forms.upload import Upload
from service.api.orders import CheckedForm
from service.api.prefer import read_cancel_after, read_prefer
from service.errors import BadRequest
from service.jobs.job import Job
from service.jobs.options import JobOptions
from tests.service.harness import JPEG, SELFIE, build_service, client_of, listening, parse_events, until

SLOW = Script(step_seconds=0.02)
ASYNC = {"Prefer": "respond-async"}


async def post(client, query="", **headers):
    return await client.post(f"/v1/portraits?{query}", content=SELFIE, headers=JPEG | headers)


async def get_until(client, job_id, status):
    async with asyncio.timeout(5):
        while (answer := (await client.get(f"/v1/jobs/{job_id}")).json())["status"] != status:
            await asyncio.sleep(0.01)
    return answer


async def run_in(service, scenario):
    async with client_of(service) as client:
        return await scenario(client)


async def test_respond_async_answers_202_with_the_jobs_place_and_the_images_come_later():
    async def scenario(client):
        accepted = await post(client, "n=2&seed=7", **ASYNC)
        return accepted, await get_until(client, accepted.json()["id"], "succeeded")

    accepted, done = await run_in(build_service(script=SLOW), scenario)
    assert accepted.status_code == 202
    assert accepted.headers["location"] == f"/v1/jobs/{accepted.json()['id']}" == accepted.json()["links"]["self"]
    assert accepted.headers["preference-applied"] == "respond-async"
    assert accepted.headers["vary"] == "Accept, Prefer"
    assert int(accepted.headers["retry-after"]) >= 1
    assert (accepted.json()["status"], accepted.json()["position"]) in (("queued", 1), ("running", 0))
    assert accepted.json()["images"] == []
    assert [base64.b64decode(image["b64"]) for image in done["images"]] == [b"image of seed 7", b"image of seed 8"]
    assert (done["position"], done["eta_seconds"], done["error"]) == (0, None, None)
    assert done["timings_ms"]["worker_total"] == 28.0


async def test_a_photo_that_is_none_is_refused_at_once_however_long_the_line_is():
    service = build_service(script=SLOW)

    async def scenario(client):
        stalled = [await post(client, "n=8&prompt=STALL", **ASYNC) for _ in range(3)]
        answer = await client.post("/v1/portraits", content=b"bad" + SELFIE, headers=JPEG | ASYNC)
        for job in stalled:
            await client.delete(f"/v1/jobs/{job.json()['id']}")
        return [job.json()["status"] for job in stalled], answer

    statuses, answer = await run_in(service, scenario)
    assert statuses[-1] == "queued"
    assert (answer.status_code, answer.json()["code"], answer.json()["selfie"]) == (422, "image_undecodable", 0)
    assert not any(any(data) for data in service.decoders.seen)


async def test_a_job_without_a_listener_runs_to_its_end():
    service = build_service(script=SLOW)

    async with listening(service) as port, httpx.AsyncClient() as client:
        accepted = await client.post(
            f"http://127.0.0.1:{port}/v1/portraits", content=SELFIE, headers=JPEG | ASYNC | {"Connection": "close"}
        )
        async with asyncio.timeout(5):
            while service.figure("images_total", format="jpeg") < 1:
                await asyncio.sleep(0.01)
        answer = await client.get(f"http://127.0.0.1:{port}{accepted.headers['location']}")
    assert answer.json()["status"] == "succeeded"
    assert service.cancelled == []


async def test_wait_answers_in_time_like_any_request_and_says_so():
    answer = await run_in(build_service(), lambda client: post(client, "seed=1", Prefer="wait=5"))
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=5"
    assert answer.json()["images"][0]["seed"] == 1


async def test_wait_becomes_202_when_its_seconds_are_over_and_the_job_goes_on():
    async def scenario(client):
        answer = await post(client, "steps=20", Prefer="wait=0")
        return answer, await get_until(client, answer.json()["id"], "succeeded")

    service = build_service(script=SLOW)
    answer, done = await run_in(service, scenario)
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")
    assert len(done["images"]) == 1
    assert service.cancelled == []


async def test_a_bad_photo_is_refused_at_once_even_when_the_answer_could_come_later():
    async def scenario(client):
        return await client.post("/v1/portraits", content=b"bad", headers=JPEG | ASYNC)

    answer = await run_in(build_service(), scenario)
    assert (answer.status_code, answer.json()["code"]) == (422, "image_undecodable")


async def test_the_events_of_a_job_can_be_followed_from_the_start_and_resumed():
    async def scenario(client):
        accepted = await post(client, "seed=1&steps=2", **ASYNC)
        events = accepted.json()["links"]["events"]
        whole = await client.get(events)
        rest = await client.get(events, headers={"Last-Event-ID": "4"})
        nothing = await client.get(events, headers={"Last-Event-ID": "999"})
        return whole, rest, nothing

    whole, rest, nothing = await run_in(build_service(script=SLOW), scenario)
    assert [name for name, _ in parse_events(whole.text)] == ["queued", "started", "step", "step", "image", "done"]
    assert rest.text.startswith("id: 5\nevent: image\n")
    assert whole.text.endswith(rest.text)
    assert nothing.text == ""


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "99999999999", "é"])
async def test_a_last_event_id_that_is_none_of_ours_is_refused(last):
    async def scenario(client):
        accepted = await post(client, **ASYNC)
        return await client.get(f"{accepted.headers['location']}/events", headers={"Last-Event-ID": last.encode()})

    answer = await run_in(build_service(), scenario)
    assert (answer.status_code, answer.json()["code"]) == (400, "last_event_id_invalid")


async def test_a_follower_that_leaves_an_async_job_does_not_cancel_it():
    service = build_service(script=SLOW)

    async with listening(service) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        accepted = await post(client, "steps=20", **ASYNC)
        async with client.stream("GET", accepted.json()["links"]["events"]) as stream:
            await anext(stream.aiter_lines())
        answer = await get_until(client, accepted.json()["id"], "succeeded")
    assert len(answer["images"]) == 1


async def test_delete_cancels_at_the_next_step_and_again_is_no_error():
    service = build_service(script=SLOW)

    async def scenario(client):
        accepted = await post(client, "prompt=STALL", **ASYNC)
        job = accepted.headers["location"]
        await until(lambda: service.fakes[0].orders)
        first, second = await client.delete(job), await client.delete(job)
        await until(lambda: service.cancelled)
        events = await client.get(f"{job}/events")
        return first, second, events

    first, second, events = await run_in(service, scenario)
    assert (first.status_code, first.json()["status"]) == (200, "cancelled")
    assert (second.status_code, second.json()["error"]["code"]) == (200, "cancelled")
    assert parse_events(events.text)[-1][0] == "error"
    assert service.cancelled == [first.json()["id"]]


@pytest.mark.parametrize("prompt", ["a person", "FAIL:no_face:caller"])
async def test_delete_of_an_ended_job_leaves_nothing_of_it(prompt):
    service = build_service()

    async def scenario(client):
        key = {"Idempotency-Key": "once"}
        accepted = await post(client, f"prompt={prompt}", **ASYNC, **key)
        job = accepted.headers["location"]
        ended = await get_until(client, accepted.json()["id"], "failed" if "FAIL" in prompt else "succeeded")
        deleted = await client.delete(job)
        gone = [await client.get(job), await client.get(f"{job}/events"), await client.delete(job)]
        again = await post(client, f"prompt={prompt}", **ASYNC, **key)
        return ended["status"], deleted, gone, (accepted.json()["id"], again.json()["id"])

    status, deleted, gone, ids = await run_in(service, scenario)
    assert (deleted.status_code, deleted.json()["status"], deleted.json()["images"]) == (200, status, [])
    assert deleted.json()["kept_seconds"] == 0
    assert [answer.status_code for answer in gone] == [404] * 3
    assert ids[0] != ids[1]  # the key is free again


async def test_with_an_expiry_of_zero_nothing_is_kept_after_the_end():
    service = build_service(result_seconds=0.0)

    async def scenario(client):
        accepted = await post(client, **ASYNC, **{"Idempotency-Key": "once"})
        events = await client.get(accepted.json()["links"]["events"])
        await until(lambda: service.front.jobs.is_idle)
        return events, await client.get(accepted.headers["location"])

    events, later = await run_in(service, scenario)
    assert parse_events(events.text)[-1][0] == "done"
    assert later.status_code == 404
    assert service.figure("held_bytes", kind="results") == 0


async def test_who_waits_for_a_job_that_another_request_cancels_is_told_so():
    service = build_service(script=SLOW)

    async def scenario(client):
        waiting = asyncio.create_task(post(client, "prompt=STALL"))
        await until(lambda: service.fakes[0].orders)
        await client.delete(f"/v1/jobs/{service.fakes[0].orders[0].job_id}")
        return await waiting

    answer = await run_in(service, scenario)
    assert (answer.status_code, answer.json()["code"]) == (409, "cancelled")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("DELETE", "")])
async def test_an_unknown_job_is_404_with_a_sentence(method, path):
    answer = await run_in(build_service(), lambda client: client.request(method, f"/v1/jobs/{'0' * 32}{path}"))
    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
    assert "600 s" in answer.json()["detail"]


async def test_results_are_gone_after_their_time():
    async def scenario(client):
        accepted = await post(client, **ASYNC)
        await get_until(client, accepted.json()["id"], "succeeded")
        await asyncio.sleep(0.25)
        return await client.get(accepted.headers["location"])

    assert (await run_in(build_service(result_seconds=0.2), scenario)).status_code == 404


async def test_a_failed_job_says_why_when_it_is_asked():
    async def scenario(client):
        accepted = await post(client, "prompt=FAIL:no_face:caller", **ASYNC)
        return await get_until(client, accepted.json()["id"], "failed")

    answer = await run_in(build_service(), scenario)
    assert (answer["error"]["status"], answer["error"]["code"]) == (422, "no_face")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_on_disconnect_finish_keeps_the_job_of_a_client_that_left(accept):
    service = build_service(script=SLOW)

    async with listening(service) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            leaving = asyncio.create_task(post(client, "steps=20&on_disconnect=finish", Accept=accept))
            await until(lambda: service.fakes[0].orders)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await get_until(client, service.fakes[0].orders[0].job_id, "succeeded")
    assert len(answer["images"]) == 1
    assert service.cancelled == []


async def test_a_deadline_in_cancel_after_is_kept():
    answer = await run_in(build_service(), lambda client: post(client, "prompt=STALL", **{"Cancel-After": "200ms"}))
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (504, "deadline_exceeded", 0.2)


@pytest.mark.parametrize(("text", "code"), [("soon", "cancel_after_invalid"), ("1h", "deadline_too_large")])
async def test_a_cancel_after_that_can_not_be_kept_is_refused_by_its_header(text, code):
    answer = await run_in(build_service(), lambda client: post(client, **{"Cancel-After": text}))
    assert (answer.status_code, answer.json()["code"], answer.json()["header"]) == (400, code, "Cancel-After")


@pytest.mark.parametrize(
    ("text", "seconds"), [("15s", 15), ("1m", 60), ("1.5m", 90), ("900ms", 0.9), ("2H", 7200), (" 7 ", 7), (None, None)]
)
def test_cancel_after_reads_durations(text, seconds):
    assert read_cancel_after(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "1d", "s", "1 m", "1e3", "9" * 20])
def test_a_cancel_after_that_is_no_duration_is_refused(text):
    with pytest.raises(BadRequest):
        read_cancel_after(text)


@pytest.mark.parametrize(
    ("header", "is_async", "waits", "seconds"),
    [
        (None, False, False, None),
        ("respond-async", True, False, None),
        ("Respond-Async, WAIT=10", True, True, 10),
        ("wait", False, True, None),
        ('wait="7"; strict', False, True, 7),
        ("handling=lenient;x, wait=abc", False, True, None),
        ("wait=1, wait=9", False, True, 1),
        (",,;=", False, False, None),
    ],
)
def test_prefer_is_read_as_a_list_whatever_its_case(header, is_async, waits, seconds):
    read = read_prefer(header)
    assert (read.respond_async, read.waits, read.wait_seconds) == (is_async, waits, seconds)


def test_terms_show_neither_key_nor_address():
    assert "secret" not in repr(JobOptions(idempotency_key="secret", webhook="https://secret"))


async def test_the_openapi_document_knows_the_jobs():
    document = (await run_in(build_service(), lambda client: client.get("/schema/openapi.json"))).json()
    assert {"get", "delete"} <= document["paths"]["/v1/jobs/{job_id}"].keys()
    assert msgspec.json.encode(document["paths"]["/v1/jobs/{job_id}/events"]).count(b"text/event-stream") >= 1


@pytest.mark.parametrize(
    ("query", "body", "headers", "status"),
    [
        ("style=corporate&n=2", SELFIE, {}, 200),
        ("style=corporate", SELFIE, {"Accept": "image/jpeg"}, 200),
        ("style=corporate", SELFIE, {"Accept": "text/event-stream"}, 200),
        ("style=corporate", b"bad", {}, 422),
        ("prompt=FAIL:no_face:caller", SELFIE, {}, 422),
        ("prompt=FAIL:engine_failed:worker", SELFIE, {}, 500),
        ("prompt=STALL&deadline=0.2", SELFIE, {}, 504),
    ],
)
async def test_an_ended_job_is_gone_at_once_with_its_pictures_and_words(query, body, headers, status):
    """Not when a garbage collector comes by, which in a service at rest is never."""

    async def scenario(client):
        answer = await client.post(f"/v1/portraits?{query}", content=body, headers=JPEG | headers)
        await until(lambda: {id(thing) for thing in alive()} <= known)
        return answer.status_code

    gc.collect()
    gc.disable()
    others = alive()  # what other tests have left
    known = {id(thing) for thing in others}
    try:
        assert await run_in(build_service(), scenario) == status
    finally:
        gc.enable()


def alive():
    kinds = {Job, Upload, PortraitForm, CheckedForm, Portrait}
    return [thing for thing in gc.get_objects() if type(thing) in kinds]
