"""OpenAI's images over a worker that computes nothing: bodies, streams, refusals."""

import json

import pytest

from models.wire.groups import Delivery
from tests.service.clients import PICTURE, one, send_and_leave
from tests.service.harness import SELFIE, build_service, client_of

EDITS = "/v1/images/edits"
JSON = {"Content-Type": "application/json"}
IMAGE = {"image": ("me.jpg", SELFIE, "image/jpeg")}


async def edit(service=None, files=IMAGE, **fields):
    return await one("POST", EDITS, service=service, files=files, data={"prompt": "a photo of a woman", **fields})


async def edit_json(service=None, **fields):
    body = {"prompt": "a photo of a woman", "images": [{"image_url": PICTURE}]} | fields
    return await one("POST", EDITS, service=service, json=body)


def events_of(text):
    blocks = [block for block in text.split("\n\n") if "data: " in block]
    return [json.loads(block.split("data: ", 1)[1]) for block in blocks]


async def test_a_form_becomes_portraits_with_their_seeds():
    service = build_service()
    answer = await edit(service, n="2", seed="7", output_format="jpeg", output_compression="70", input_fidelity="high")
    body = answer.json()
    assert answer.status_code == 200
    assert [image["seed"] for image in body["data"]] == [7, 8]
    assert (body["size"], body["quality"], body["output_format"], body["background"]) == (
        "256x256", "medium", "jpeg", "opaque",
    )  # fmt: skip
    assert {"created", "usage", "id", "model", "adapter", "faces", "timings_ms"} <= set(body)
    order = service.fakes[0].orders[0]
    assert order.delivery == Delivery(format="jpeg", quality=70)
    assert (order.sampling.strength, len(order.seeds)) == (1.0, 2)


async def test_json_with_data_urls_does_the_same():
    answer = await edit_json(n=2, seed=7)
    assert [image["seed"] for image in answer.json()["data"]] == [7, 8]


@pytest.mark.parametrize("name", ["image", "image[]"])
async def test_the_forms_of_load_generators_are_taken(name):
    """As sglang's bench_serving (`image` repeated, octets) and AIPerf's image_edit send them."""
    files = [(name, ("image.png", SELFIE, "application/octet-stream"))] * 2
    answer = await edit(files=files, model="fake", n="1", response_format="b64_json", size="1024x1024")
    assert (answer.status_code, len(answer.json()["faces"])) == (200, 2)


async def test_the_picture_can_be_a_data_url_in_the_answer():
    image = (await edit(response_format="url")).json()["data"][0]
    assert image["url"].startswith("data:image/png;base64,")
    assert "b64_json" not in image


@pytest.mark.parametrize(("partials", "made"), [("0", False), ("1", True)])
async def test_previews_are_made_only_for_partial_images(partials, made):
    service = build_service()
    await edit(service, stream="true", partial_images=partials)
    assert service.fakes[0].orders[0].delivery.previews is made


@pytest.mark.parametrize(("partials", "told"), [("0", 0), ("1", 1), ("2", 2), ("3", 3)])
async def test_a_stream_has_its_partials_and_then_the_portrait(partials, told):
    answer = await edit(stream="true", partial_images=partials)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    names = ["image_edit.partial_image"] * told + ["image_edit.completed"]
    assert [event["type"] for event in events] == names
    assert [line for line in answer.text.splitlines() if line.startswith("event:")] == [
        f"event: {name}" for name in names
    ]


async def test_a_stream_of_several_says_which_is_which():
    done = [
        event for event in events_of((await edit(stream="true", n="2")).text) if event["type"].endswith("completed")
    ]
    assert sorted(event["image_index"] for event in done) == [0, 1]


async def test_a_failure_inside_a_stream_is_an_error_event():
    answer = await edit(stream="true", prompt="FAIL:no_face:caller")
    assert answer.status_code == 200
    [event] = events_of(answer.text)
    assert (event["error"]["code"], event["error"]["type"]) == ("no_face", "invalid_request_error")
    assert event["error"]["faces"][0]["verdict"] == "no_face"


@pytest.mark.parametrize(
    ("prompt", "status", "kind", "retry"),
    [
        ("FAIL:no_face:caller", 422, "invalid_request_error", "false"),
        ("FAIL:nan_output:worker", 500, "server_error", "false"),
        ("FAIL:queue_full:capacity", 503, "server_error", "true"),
    ],
)
async def test_a_failed_job_has_openais_shape_and_says_whether_to_retry(prompt, status, kind, retry):
    answer = await edit(prompt=prompt)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert answer.headers["x-should-retry"] == retry
    assert ("retry-after" in answer.headers) == (retry == "true")
    assert list(answer.json()) == ["error"]


async def test_a_passed_deadline_is_not_to_be_tried_again():
    answer = await edit(prompt="a woman STALL", deadline="0.2")
    assert (answer.status_code, answer.headers["x-should-retry"]) == (504, "false")


BAD_BODIES = {
    "no_type": ({"content": b"x"}, 415, "unsupported_media"),
    "text": ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported_media"),
    "form": ({"data": {"prompt": "x"}}, 415, "unsupported_media"),
    "raw_image": ({"content": SELFIE, "headers": {"Content-Type": "image/jpeg"}}, 415, "unsupported_media"),
    "no_boundary": ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "form_malformed"),
    "half_form": (
        {"content": b"--b\r\nContent-Disp", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
        400,
        "form_malformed",
    ),
    "no_image": ({"files": {"prompt": (None, "x")}}, 400, "image_missing"),
    "empty_image": ({"files": {"image": ("a.jpg", b"")}, "data": {"prompt": "x"}}, 400, "image_missing"),
    "mask": ({"files": {**IMAGE, "mask": ("m.png", b"x")}}, 400, "unsupported_field"),
    "too_many": ({"files": [("image[]", ("a.jpg", SELFIE))] * 9, "data": {"prompt": "x"}}, 400, "too_many_images"),
    "no_prompt": ({"files": IMAGE}, 400, "field_missing"),
    "twice": ({"files": [*IMAGE.items(), ("n", (None, "1")), ("n", (None, "2"))]}, 400, "duplicate_field"),
    "bad_picture": ({"files": {"image": ("a.jpg", b"bad")}, "data": {"prompt": "x"}}, 422, "image_undecodable"),
    "not_json": ({"content": b"{", "headers": JSON}, 400, "json_malformed"),
    "json_list": ({"json": [1]}, 400, "json_malformed"),
    "deep_json": ({"content": b"[" * 100_000, "headers": JSON}, 400, "json_malformed"),
    "json_no_images": ({"json": {"prompt": "x"}}, 400, "image_missing"),
    "json_https": ({"json": {"prompt": "x", "images": [{"image_url": "https://x.org"}]}}, 400, "image_not_inline"),
    "json_file_id": ({"json": {"prompt": "x", "images": [{"file_id": "f"}]}}, 400, "file_id_unsupported"),
    "json_text_number": ({"json": {"prompt": "x", "n": "1", "images": []}}, 400, "invalid_field"),
    "gzip": ({"content": b"x", "headers": {**JSON, "Content-Encoding": "gzip"}}, 415, "content_encoded"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_every_bad_body_gets_openais_error_with_a_code_and_a_sentence(name):
    options, status, code = BAD_BODIES[name]
    answer = await one("POST", EDITS, **options)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert answer.headers["content-type"] == "application/json"
    assert set(error) >= {"message", "type", "param", "code", "request_id"}
    assert error["message"][-1] in ".)}"
    assert answer.headers["x-should-retry"] == "false"


async def test_a_prompt_alone_makes_no_portrait_and_is_told_why():
    answer = await one("POST", "/v1/images/generations", json={"prompt": "a woman"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "selfie_needed")


async def test_generations_checks_its_fields_before_all_else():
    answer = await one("POST", "/v1/images/generations", json={"prompt": "a woman", "n": 0})
    assert answer.json()["error"]["param"] == "n"


@pytest.mark.parametrize("fields", [{}, {"prompt": "FAIL:no_face:caller"}, {"size": "1"}, {"model": "nope"}], ids=str)
async def test_every_uploaded_byte_is_wiped_whatever_comes_of_it(fields):
    service = build_service()
    await edit(service, **fields)
    assert all(not any(data) for data in service.decoders.seen)


async def test_a_client_that_leaves_a_stream_takes_its_job_along():
    service = build_service()

    async with client_of(service) as client:
        request = client.build_request("POST", EDITS, files=IMAGE, data={"prompt": "STALL", "stream": "true"})
        await send_and_leave(client.send(request), service)
    assert len(service.cancelled) == 1


async def test_the_models_page_serves_three_kinds_of_client():
    body = (await one("GET", "/v1/models")).json()
    assert [model["id"] for model in body["data"]] == ["fake", "photomaker-v2", "instantid"]
    assert body["models"][0]["bundle"]["name"] == "fake"
    assert [f"{model['owner']}/{model['name']}" for model in body["results"]] == [
        "tencentarc/photomaker",
        "tencentarc/photomaker-style",
        "zsxkib/instant-id",
        "proofsheet/portraits",
    ]


async def test_a_model_is_found_by_its_name():
    assert (await one("GET", "/v1/models/instantid")).json()["object"] == "model"
    missing = await one("GET", "/v1/models/gpt-image-2")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_an_identity_takes_the_place_of_the_selfie_and_a_proof_makes_the_final():
    async with client_of(build_service()) as client:
        made = await client.post("/v1/identities", content=SELFIE, headers={"Content-Type": "image/jpeg"})
        body = {"prompt": "a woman", "identity": made.json()["identity"], "seed": 7}
        drawn = await client.post("/v1/images/generations", json=body)
        edited = await client.post(EDITS, json=body)
        proof = drawn.json()["data"][0]["proof"]
        settled = await client.post("/v1/images/generations", json={"prompt": "", "proof": proof, "size": "1x1"})
        final = await client.post("/v1/images/generations", json={"prompt": "", "proof": proof})
    assert drawn.status_code == edited.status_code == 200
    assert drawn.json()["data"][0]["seed"] == edited.json()["data"][0]["seed"] == 7
    assert settled.json()["error"]["code"] == "settled_by_proof"
    assert final.status_code == 200 or final.json()["error"]["code"] == "finals_unavailable"


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-image-1"},
        {"model": "gpt-image-1-mini", "quality": "low"},
        {"model": "gpt-image-1.5", "input_fidelity": "high"},
        {"model": "gpt-image-1-2025-04-23", "size": "1536x1024"},
        {"model": "chatgpt-image-latest"},
        {"model": "DALL-E-2", "response_format": "b64_json"},
        {"model": "dall-e-3", "quality": "hd", "style": "vivid", "size": "1792x1024", "response_format": "b64_json"},
        {"model": "dall-e-3", "quality": "standard", "style": "natural", "response_format": "b64_json"},
    ],
)
async def test_a_caller_of_openai_s_models_need_change_the_address_alone(fields):
    answer = await edit_json(**fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == "fake"
    assert "b64_json" in answer.json()["data"][0]


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
async def test_dall_e_answers_with_a_url_as_at_openai(model):
    assert set((await edit_json(model=model)).json()["data"][0]) >= {"url", "seed"}


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-image", "flux-dall-e-3", "dall-e-3/x", "sora-2"])
async def test_other_names_are_not_found(model):
    answer = await edit_json(model=model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("model", ["gpt-image-1", "dall-e-3"])
async def test_a_setting_refuses_openai_s_names(model):
    answer = await edit_json(build_service(openai_models=False), model=model)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_the_list_of_models_has_none_of_openai_s():
    listed = (await one("GET", "/v1/models")).json()["data"]
    assert [model["id"] for model in listed] == ["fake", "photomaker-v2", "instantid"]
