"""POST /v1/portraits over a fake worker: the three forms of answer, and what is refused."""

import asyncio
import base64

import pytest

from models.wire.groups import Placing
from scripts.fronts.fake_worker import Script
from tests.service.harness import JPEG, SELFIE, build_service, client_of, parse_events


async def post(service, query="", body=SELFIE, **headers):
    async with client_of(service) as client:
        return await client.post(f"/v1/portraits?{query}", content=body, headers=JPEG | headers)


async def test_a_selfie_becomes_json_with_images_seeds_timings_and_a_face_report():
    service = build_service()
    answer = await post(service, "style=corporate&n=2&seed=7")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [image["seed"] for image in body["images"]] == [7, 8]
    assert [base64.b64decode(image["b64"]) for image in body["images"]] == [b"image of seed 7", b"image of seed 8"]
    assert (body["model"], body["adapter"], body["style"]) == ("fake", "photomaker-v2", "corporate")
    assert body["faces"][0]["verdict"] == "ok"
    assert body["timings_ms"]["steps"] == 5.0
    assert body["timings_ms"]["worker_total"] == 28.0
    assert body["timings_ms"]["total"] > 0
    assert len(body["id"]) == 32


async def test_the_worker_gets_the_styles_prompt_with_the_subject_and_its_defaults():
    service = build_service()
    await post(service, "style=corporate&subject=woman&steps=3&size=256x320&strength=0.5")
    order = service.fakes[0].orders[0]
    assert order.words.prompt.startswith("portrait photo of a woman wearing a navy suit")
    assert order.words.negative_prompt is not None
    assert (order.sampling.size, order.sampling.steps, order.sampling.strength) == ("256x320", 3, 0.5)
    assert order.sampling.sampler is None
    assert order.adapter is None
    assert 0 < order.deadline_seconds <= 30


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a {subject} on the moon", "a man on the moon"),
        ("an old man on the moon", "an old man on the moon"),
        ("on the moon", "portrait photo of a man, on the moon"),
    ],
    ids=["placeholder", "written", "missing"],
)
async def test_a_prompt_of_ones_own_always_reaches_the_worker_with_the_subject_in_it(prompt, expected):
    service = build_service()

    async with client_of(service) as client:
        params = {"prompt": prompt, "subject": "man"}
        answer = await client.post("/v1/portraits", params=params, content=SELFIE, headers=JPEG)
    assert answer.status_code == 200, answer.text
    assert answer.json()["style"] is None
    assert service.fakes[0].orders[0].words.prompt == expected


async def test_without_a_seed_every_image_gets_its_own_and_says_it():
    answer = await post(build_service(), "n=4")
    seeds = [image["seed"] for image in answer.json()["images"]]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**32 for seed in seeds)


async def test_seeds_wrap_at_32_bits():
    answer = await post(build_service(), f"n=2&seed={2**32 - 1}")
    assert [image["seed"] for image in answer.json()["images"]] == [2**32 - 1, 0]


async def test_accepting_an_image_gives_the_plain_image_with_its_seed():
    answer = await post(build_service(), "seed=3&format=webp", Accept="image/*")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["x-seed"] == "3"
    assert answer.content == b"image of seed 3"


async def test_a_plain_image_of_several_portraits_is_refused_with_a_sentence():
    answer = await post(build_service(), "n=2", Accept="image/*")
    assert answer.status_code == 406
    assert answer.json()["code"] == "one_image_only"
    assert "n=1" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "header"), [("format=jpeg", "image/png"), ("format=png", "image/jpeg, image/webp;q=0.1")]
)
async def test_a_plain_image_in_a_format_that_is_not_accepted_is_refused(query, header):
    answer = await post(build_service(), query, Accept=header)
    assert (answer.status_code, answer.json()["code"]) == (406, "format_not_accepted")


@pytest.mark.parametrize(
    ("query", "header", "made"),
    [
        ("", "image/png", "png"),
        ("", "image/webp;q=0.9, image/png;q=0.1", "webp"),
        ("", "image/*", "jpeg"),
        ("format=webp", "image/png;q=0.9, image/webp;q=0.1", "webp"),
    ],
)
async def test_the_header_names_the_format_that_the_request_leaves_out(query, header, made):
    answer = await post(build_service(), query, Accept=header)
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"image/{made}")


async def test_a_multipart_form_leaves_the_format_to_the_header_too():
    async with client_of(build_service()) as client:
        photo = {"image": ("selfie.jpg", SELFIE, "image/jpeg")}
        answer = await client.post("/v1/portraits", files=photo, headers={"Accept": "image/webp"})
    assert answer.headers["content-type"] == "image/webp"


async def test_no_acceptable_form_is_refused_before_the_body_is_read():
    answer = await post(build_service(), Accept="text/html")
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


async def test_events_come_in_order_and_end_with_done():
    answer = await post(build_service(), "n=2&seed=1&steps=2&previews=true", Accept="text/event-stream")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = parse_events(answer.text)
    names = [name for name, _ in events]
    assert names == ["queued", "started", "step", "step", "step", "step", "image", "image", "done"]
    assert events[0][1]["position"] == 1
    assert events[0][1]["seeds"] == [1, 2]
    assert events[1][1]["faces"][0]["verdict"] == "ok"
    assert base64.b64decode(events[2][1]["preview_b64"]) == b"preview"
    assert base64.b64decode(events[6][1]["b64"]) == b"image of seed 1"
    assert events[-1][1]["timings_ms"]["worker_total"] == 28.0


async def test_a_failure_after_the_events_began_is_an_error_event_with_a_problem():
    service = build_service()
    answer = await post(service, "prompt=FAIL:no_face:caller", Accept="text/event-stream")
    assert answer.status_code == 200
    name, problem = parse_events(answer.text)[-1]
    assert name == "error"
    assert (problem["status"], problem["code"], problem["selfie"]) == (422, "no_face", 0)
    assert service.figure("requests_total", route="/v1/portraits", outcome="ok") == 0


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("no_face:caller", 422),
        ("prompt_too_long:caller", 400),
        ("no_rows:capacity", 503),
        ("deadline_exceeded:capacity", 504),
        ("nan_output:worker", 500),
    ],
)
async def test_a_workers_failure_has_the_status_of_whose_fault_it_is(failure, status):
    service = build_service()
    answer = await post(service, f"prompt=FAIL:{failure}")
    code = failure.split(":")[0]
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    assert answer.json()["faces"][0]["verdict"] == "no_face"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert service.figure("rejections_total", reason=code) == 1


@pytest.mark.parametrize(
    ("query", "code", "allowed"),
    [
        ("size=512x512", "unknown_size", ["256x256", "256x320"]),
        ("sampler=magic", "unknown_sampler", ["euler", "lcm", "tcd"]),
        ("adapter=magic", "unknown_adapter", ["photomaker-v2", "instantid"]),
        ("lora=magic", "unknown_lora", ["film"]),
        ("adapter=ip-adapter", "adapter_not_warm", ["photomaker-v2", "instantid"]),
        ("subject=dragon", "unknown_subject", None),
        ("style=magic", "unknown_style", None),
    ],
)
async def test_what_the_model_does_not_have_is_refused_with_what_it_has(query, code, allowed):
    service = build_service()
    answer = await post(service, query)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["value"] == query.split("=")[1]
    assert answer.json()["allowed"] == allowed or allowed is None
    assert not service.fakes[0].orders


async def test_an_adapter_that_is_known_but_not_warm_is_refused_with_the_way_to_get_it():
    answer = await post(build_service(), "adapter=ip-adapter")
    assert answer.status_code == 400
    assert "proofsheet fetch commercial-ip" in answer.json()["detail"]
    assert "--bundle commercial-ip" in answer.json()["detail"]


async def test_a_lora_and_its_scale_reach_the_worker():
    service = build_service()
    answer = await post(service, "lora=film&lora_scale=0.4")
    assert answer.status_code == 200, answer.text
    order = service.fakes[0].orders[0]
    assert (order.sampling.lora, order.sampling.lora_scale) == ("film", 0.4)


async def test_a_gamma_reaches_the_worker_with_the_sampler_that_has_one():
    service = build_service()
    answer = await post(service, "sampler=tcd&gamma=0.6")
    assert answer.status_code == 200, answer.text
    assert service.fakes[0].orders[0].sampling.gamma == 0.6


@pytest.mark.parametrize("query", ["gamma=0.6", "gamma=0&sampler=lcm"])
async def test_a_gamma_for_a_sampler_without_one_is_refused(query):
    service = build_service()
    answer = await post(service, query)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_field", "gamma")
    assert not service.fakes[0].orders


async def post_with_pose(service, pose=SELFIE, **fields):
    files = [("image", ("a.jpg", SELFIE, "image/jpeg")), ("pose", ("p.jpg", pose, "image/jpeg"))]
    async with client_of(service) as client:
        return await client.post("/v1/portraits", files=files, data=fields)


async def test_a_pose_photo_and_what_goes_with_it_reach_the_worker():
    service = build_service()
    answer = await post_with_pose(service, adapter="instantid", framing="closer", control_strength="0.6", region="face")
    assert answer.status_code == 200, answer.text
    order = service.fakes[0].orders[0]
    assert order.photos.pose is not None
    assert order.placing == Placing(framing="closer", control_strength=0.6, region="face")
    assert len(service.decoders.seen) == 2
    assert not any(any(data) for data in service.decoders.seen)  # wiped, the pose photo too


async def test_a_bad_pose_photo_is_refused_by_its_field():
    answer = await post_with_pose(build_service(), pose=b"bad", adapter="instantid")
    assert (answer.status_code, answer.json()["code"]) == (422, "image_undecodable")
    assert answer.json()["field"] == "pose"
    assert "selfie" not in answer.json()


@pytest.mark.parametrize(("field", "value"), [("framing", "front"), ("control_strength", "0.5"), ("region", "picture")])
async def test_what_places_the_face_is_refused_for_an_adapter_that_cannot_place_it(field, value):
    service = build_service()
    check_pose_refused(service, field, await post(service, f"adapter=photomaker-v2&{field}={value}"))


async def test_a_pose_photo_is_refused_for_an_adapter_that_cannot_place_the_face():
    service = build_service()
    check_pose_refused(service, "pose", await post_with_pose(service))


def check_pose_refused(service, field, answer):
    assert (answer.status_code, answer.json()["code"]) == (400, "pose_unsupported")
    assert (answer.json()["field"], answer.json()["allowed"]) == (field, ["instantid"])
    assert "choose instantid" in answer.json()["detail"]
    assert not service.fakes[0].orders


@pytest.mark.parametrize(
    ("query", "code", "limit"),
    [("steps=21", "steps_too_large", 20), ("n=5", "n_too_large", 4), ("deadline=121", "deadline_too_large", 120)],
)
async def test_a_number_over_its_limit_is_refused_with_the_limit(query, code, limit):
    answer = await post(build_service(max_images=4), query)
    assert (answer.status_code, answer.json()["code"], answer.json()["limit"]) == (400, code, limit)


async def test_a_bad_picture_is_refused_with_its_index():
    async with client_of(build_service()) as client:
        files = [("image", ("a.jpg", SELFIE, "image/jpeg")), ("image", ("b.jpg", b"bad", "image/jpeg"))]
        answer = await client.post("/v1/portraits", files=files)
    assert (answer.status_code, answer.json()["code"]) == (422, "image_undecodable")
    assert answer.json()["selfie"] == 1


async def test_the_uploaded_bytes_are_wiped_whether_it_works_or_not():
    service = build_service()

    async with client_of(service) as client:
        await client.post("/v1/portraits", content=SELFIE, headers=JPEG)
        await client.post("/v1/portraits", content=b"bad" + SELFIE, headers=JPEG)
        await client.post("/v1/portraits?prompt=FAIL:no_face:caller", content=SELFIE, headers=JPEG)
    assert len(service.decoders.seen) == 3
    assert not any(any(data) for data in service.decoders.seen)


async def test_a_job_over_its_deadline_is_answered_504_and_cancelled():
    service = build_service()

    async with client_of(service) as client:
        answer = await client.post("/v1/portraits?prompt=STALL&deadline=0.2", content=SELFIE, headers=JPEG)
        health = await client.get("/health")
        await asyncio.sleep(0.05)
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert health.json()["jobs"] == 0
    assert service.cancelled == [service.fakes[0].orders[0].job_id]
    assert service.figure("requests_total", route="/v1/portraits", outcome="deadline") == 1


async def test_a_deadline_that_passes_while_decoding_never_reaches_the_worker():
    service = build_service()
    service.decoders.seconds = 0.2
    answer = await post(service, "deadline=0.1")
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert not service.fakes[0].orders


async def test_a_full_service_answers_503_at_once_with_retry_after():
    service = build_service(script=Script(step_seconds=0.05), max_jobs=2)

    async with client_of(service) as client:
        requests = [client.post("/v1/portraits?steps=8", content=SELFIE, headers=JPEG) for _ in range(6)]
        answers = await asyncio.gather(*requests)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.json()["code"] == "queue_full"
    assert refused.json()["limit"] == 2
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["connection"] == "close"
    assert service.figure("rejections_total", reason="queue_full") == 4


async def test_before_the_models_are_warm_every_job_is_answered_503():
    service = build_service(script=Script(start_seconds=0.3))

    async with client_of(service, warm=False) as client:
        cold = await client.post("/v1/portraits", content=SELFIE, headers=JPEG)
        probe = await client.get("/readyz")
        live = await client.get("/livez")
        await service.workers.wait_ready()
        later = await client.get("/readyz")
    assert (cold.status_code, cold.json()["code"]) == (503, "not_ready")
    assert int(cold.headers["retry-after"]) >= 1
    assert (probe.status_code, live.status_code, later.status_code) == (503, 200, 200)
    assert probe.headers["content-type"] == "application/problem+json"
