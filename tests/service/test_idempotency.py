"""Idempotency-Key: what is sent twice is made once."""

import asyncio
import time

import pytest

from scripts.fronts.fake_worker import Script
from service.errors import BadRequest
from service.jobs.idempotency import fingerprint, read_key
from tests.service.harness import JPEG, SELFIE, build_service, client_of, parse_events, until

SLOW = Script(step_seconds=0.02)
KEY = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
OTHER = {"Idempotency-Key": '"another"'}


async def run_in(service, scenario):
    async with client_of(service) as client:
        return await scenario(client)


async def post(client, query="", body=SELFIE, **headers):
    return await client.post(f"/v1/portraits?{query}", content=body, headers=JPEG | KEY | headers)


async def test_a_duplicate_in_flight_joins_the_job_and_costs_no_second_step():
    service = build_service(script=SLOW)

    async def scenario(client):
        first = asyncio.create_task(post(client, "n=2"))
        await until(lambda: service.fakes[0].orders)
        return await asyncio.gather(first, post(client, "n=2"), post(client, "n=2"))

    answers = await run_in(service, scenario)
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len({str(answer.json()["images"]) for answer in answers}) == 1
    assert len(service.fakes[0].orders) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [None, "true", "true"]
    assert not any(any(data) for data in service.decoders.seen)


async def test_duplicates_sent_at_the_same_moment_are_one_job():
    service = build_service()
    answers = await run_in(service, lambda client: asyncio.gather(*(post(client) for _ in range(10))))
    assert {answer.status_code for answer in answers} == {200}
    assert len(service.fakes[0].orders) == 1


async def test_a_finished_job_is_answered_again_from_memory_in_any_form():
    service = build_service()

    async def scenario(client):
        first = await post(client, "seed=7")
        again = await post(client, "seed=7")
        image = await post(client, "seed=7", Accept="image/jpeg")
        events = await post(client, "seed=7", Accept="text/event-stream")
        later = await post(client, "seed=7", Prefer="respond-async")
        return first, again, image, events, later

    first, again, image, events, later = await run_in(service, scenario)
    assert first.json()["images"] == again.json()["images"]
    assert image.content == b"image of seed 7"
    assert parse_events(events.text)[-1][0] == "done"
    assert (later.status_code, later.json()["status"]) == (202, "succeeded")
    assert len(service.fakes[0].orders) == 1


async def test_the_same_key_with_another_format_is_another_request_wherever_the_format_is_named():
    async def scenario(client):
        first = await post(client, "seed=7", Accept="image/png")
        again = await post(client, "seed=7&format=png", Accept="image/png")
        other = await post(client, "seed=7", Accept="image/webp")
        return first, again, other

    first, again, other = await run_in(build_service(), scenario)
    assert [answer.status_code for answer in (first, again, other)] == [200, 200, 422]
    assert again.headers["idempotency-replayed"] == "true"
    assert other.json()["code"] == "idempotency_key_reused"


async def test_fields_in_the_query_or_in_a_form_are_the_same_request():
    service = build_service()

    async def scenario(client):
        raw = await post(client, "seed=7&n=1")
        files = {"image": ("any.jpg", SELFIE, "image/jpeg")}
        form = await client.post("/v1/portraits", files=files, data={"n": "1", "seed": "7"}, headers=KEY)
        return raw, form

    raw, form = await run_in(service, scenario)
    assert raw.json()["id"] == form.json()["id"]


@pytest.mark.parametrize(("query", "body"), [("seed=8", SELFIE), ("seed=7", SELFIE + b"x")], ids=["fields", "photo"])
async def test_the_key_of_another_request_is_refused(query, body):
    service = build_service()

    async def scenario(client):
        await post(client, "seed=7")
        return await post(client, query, body)

    answer = await run_in(service, scenario)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert not any(any(data) for data in service.decoders.seen)
    assert len(service.fakes[0].orders) == 1


async def test_another_key_is_another_job():
    service = build_service()

    async def scenario(client):
        return await post(client, "seed=7"), await post(client, "seed=7", **OTHER)

    first, second = await run_in(service, scenario)
    assert first.json()["id"] != second.json()["id"]


async def test_a_refusal_that_is_the_callers_fault_is_given_again():
    service = build_service()

    async def scenario(client):
        return [await post(client, "prompt=FAIL:no_face:caller") for _ in range(2)]

    answers = await run_in(service, scenario)
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(422, "no_face")] * 2
    assert service.figure("faces_total", verdict="no_face") == 1


@pytest.mark.parametrize("failure", ["nan_output:worker", "no_rows:capacity"])
async def test_a_failure_of_ours_may_be_tried_again_with_the_same_key(failure):
    service = build_service()

    async def scenario(client):
        return [await post(client, f"prompt=FAIL:{failure}") for _ in range(2)]

    await run_in(service, scenario)
    assert service.figure("faces_total", verdict="no_face") == 2


async def test_a_bad_photo_is_refused_again_without_being_decoded_again():
    service = build_service()

    async def scenario(client):
        return [await post(client, body=b"bad") for _ in range(2)]

    assert [answer.status_code for answer in await run_in(service, scenario)] == [422, 422]
    assert len(service.decoders.seen) == 1


async def test_the_answer_is_forgotten_after_its_time():
    service = build_service(result_seconds=0.1)

    async def scenario(client):
        first = await post(client)
        await asyncio.sleep(0.2)
        return first, await post(client)

    first, second = await run_in(service, scenario)
    assert first.json()["id"] != second.json()["id"]
    assert service.front.jobs.discrepancies() == {}, "no key outlives its job"


async def test_a_duplicate_is_answered_even_when_the_service_is_full():
    service = build_service(script=SLOW, max_jobs=1)

    async def scenario(client):
        first = asyncio.create_task(post(client))
        await until(lambda: service.fakes[0].orders)
        refused = await post(client, **OTHER)
        return refused, await post(client), await first

    refused, joined, first = await run_in(service, scenario)
    assert refused.status_code == 503
    assert joined.json()["images"] == first.json()["images"]


async def test_the_job_goes_on_until_the_last_who_joined_has_left():
    service = build_service(script=SLOW)

    async def scenario(client):
        first = asyncio.create_task(post(client, "steps=20"))
        await until(lambda: service.fakes[0].orders)
        second = asyncio.create_task(post(client, "steps=20"))
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    assert (await run_in(service, scenario)).status_code == 200
    assert service.cancelled == []


@pytest.mark.parametrize(
    ("header", "key"),
    [('"abc"', "abc"), ("abc", "abc"), ('"a b"', "a b"), (r'"a\"b"', r"a\"b"), (" k ", "k"), (None, None)],
)
def test_keys_are_read_with_and_without_quotes(header, key):
    assert read_key(header) == key


@pytest.mark.parametrize("header", ["", '""', '"', "a b", "é", '"\x00"', "x" * 300, '"a"b"'])
def test_a_key_that_is_none_is_refused(header):
    with pytest.raises(BadRequest) as refused:
        read_key(header)
    assert refused.value.code == "idempotency_key_invalid"


async def test_a_key_that_is_none_is_refused_before_the_body_is_read():
    answer = await run_in(build_service(), lambda client: post(client, **{"Idempotency-Key": "a b"}))
    assert (answer.status_code, answer.json()["header"]) == (400, "Idempotency-Key")


def test_the_fingerprint_tells_routes_fields_files_and_their_order_apart():
    marks = {
        fingerprint("/a", {"x": 1, "y": 2}, [b"1", b"2"]),
        fingerprint("/b", {"x": 1, "y": 2}, [b"1", b"2"]),
        fingerprint("/a", {"x": 2, "y": 2}, [b"1", b"2"]),
        fingerprint("/a", {"x": 1, "y": 2}, [b"2", b"1"]),
        fingerprint("/a", {"x": 1, "y": 2}, [b"12"]),
    }
    assert len(marks) == 5
    assert fingerprint("/a", {"y": 2, "x": 1}, [b"1", b"2"]) in marks


def test_a_fingerprint_of_three_megabytes_is_quick():
    began = time.perf_counter()
    fingerprint("/a", {}, [bytes(3_000_000)])
    assert time.perf_counter() - began < 0.5
