"""The real clients against the real service: what a shop has today, with one address changed."""

import asyncio
import base64
import io

import openai
import pytest
import replicate
import skimage.data
from openai import OpenAI
from PIL import Image
from replicate.exceptions import ModelError, ReplicateError

PHOTOMAKER = "tencentarc/photomaker"
PINNED = f"{PHOTOMAKER}:ddfc2b08d209f9fa8c1eca692712918bd449f695dabb4a958da31802a9570fe4"
INSTANT_ID = "zsxkib/instant-id"


@pytest.fixture(scope="session")
def selfie() -> bytes:
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.fixture(scope="session")
def faceless() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (400, 400), "grey").save(out, "JPEG")
    return out.getvalue()


@pytest.fixture(scope="session")
def address(service) -> str:
    return str(service.base_url).rstrip("/")


@pytest.fixture
def client(address):
    with OpenAI(base_url=f"{address}/v1", api_key="none", timeout=100) as client:
        yield client


@pytest.fixture
def shop(address):
    """As a shop has it, but for the address. The package has no way to close its connections but this."""
    client = replicate.Client(api_token="none", base_url=address)
    yield client
    client._client.close()


def opened(text: str | bytes):
    data = text if isinstance(text, bytes) else base64.b64decode(text)
    return Image.open(io.BytesIO(data))


# ---- openai


def test_openai_edit_gives_portraits(client, selfie):
    answer = client.images.edit(image=selfie, prompt="a photo of a woman in a red coat", n=2, output_format="webp")
    assert [opened(image.b64_json).format for image in answer.data] == ["WEBP", "WEBP"]
    assert (answer.size, answer.quality, answer.output_format) == ("256x256", "medium", "webp")
    assert answer.usage.total_tokens == 0
    assert answer.data[0].seed != answer.data[1].seed


def test_openai_edit_takes_several_selfies_and_our_own_fields(client, selfie):
    answer = client.images.edit(
        image=[("a.jpg", selfie, "image/jpeg"), ("b.jpg", selfie, "image/jpeg")],
        prompt="a photo of a woman",
        model="photomaker-v2",
        size="1024x1024",
        quality="low",
        input_fidelity="high",
        user="shop-1",
        response_format="url",
        extra_body={"seed": 7, "subject": "woman", "sampler": "lcm"},
    )
    assert answer.data[0].seed == 7
    assert answer.data[0].url.startswith("data:image/png;base64,")
    assert answer.adapter == "photomaker-v2"
    assert len(answer.faces) == 2


def test_openai_streams_partial_images_and_then_the_portrait(client, selfie):
    stream = client.images.edit(
        image=selfie, prompt="a photo of a woman", stream=True, partial_images=2, extra_body={"subject": "woman"}
    )
    events = list(stream)
    assert [event.type for event in events] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    assert [event.partial_image_index for event in events[:2]] == [0, 1]
    assert all(opened(event.b64_json).format == "JPEG" for event in events[:2])
    assert opened(events[-1].b64_json).size == (256, 256)
    assert events[-1].usage.total_tokens == 0


async def test_openai_async_works_too(address, selfie):
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", timeout=100) as client:
        both = [client.images.edit(image=selfie, prompt="a photo of a woman") for _ in range(2)]
        whole = await asyncio.gather(*both)
        stream = await client.images.edit(image=selfie, prompt="a photo of a woman", stream=True)
        events = [event async for event in stream]
    assert all(opened(answer.data[0].b64_json).format == "PNG" for answer in whole)
    assert [event.type for event in events] == ["image_edit.completed"]


def test_openai_lists_and_retrieves_models(client):
    names = [model.id for model in client.models.list()]
    assert names[0] == "tiny"
    assert "instantid" in names
    assert client.models.retrieve("instantid").owned_by == "proofsheet"
    with pytest.raises(openai.NotFoundError, match="no model of that name"):
        client.models.retrieve("gpt-image-2")


@pytest.mark.parametrize(
    ("fields", "kind", "code", "param"),
    [
        ({"n": 0}, openai.BadRequestError, "invalid_field", "n"),
        ({"model": "gpt-4o"}, openai.NotFoundError, "model_not_found", "model"),
        ({"background": "transparent"}, openai.BadRequestError, "background_unsupported", "background"),
        ({"output_format": "gif"}, openai.BadRequestError, "format_unsupported", "output_format"),
        ({"mask": b"x"}, openai.BadRequestError, "unsupported_field", "mask"),
        ({"extra_body": {"nope": 1}}, openai.BadRequestError, "unknown_field", "nope"),
        ({"extra_body": {"obj": {"a": 1}}}, openai.BadRequestError, "unknown_field", "obj[a]"),
    ],
)
def test_openai_raises_its_own_errors_with_a_sentence(client, selfie, fields, kind, code, param):
    with pytest.raises(kind) as raised:
        client.images.edit(image=selfie, prompt="a photo of a woman", **fields)
    error = raised.value
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert error.request_id == error.response.headers["x-request-id"]
    assert len(error.body["message"]) > 20


def test_openai_says_why_a_prompt_alone_is_not_enough(client):
    with pytest.raises(openai.BadRequestError, match="does not say of whom") as raised:
        client.images.generate(prompt="a photo of a woman")
    assert raised.value.code == "selfie_needed"


def counted(client, monkeypatch):
    """How often the client really sends: its own retry counter, as the server would see it."""
    sent = []
    send = client._client.send

    def count(request, **options):
        sent.append(request.headers["x-stainless-retry-count"])
        return send(request, **options)

    monkeypatch.setattr(client._client, "send", count)
    return sent


def test_openai_does_not_send_a_bad_selfie_twice(client, faceless, monkeypatch):
    sent = counted(client, monkeypatch)
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.images.edit(image=faceless, prompt="a photo of a woman")
    assert raised.value.code == "no_face"
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert sent == ["0"]


def test_openai_does_not_burn_the_gpu_again_after_a_deadline(client, selfie, monkeypatch):
    sent = counted(client, monkeypatch)
    with pytest.raises(openai.InternalServerError) as raised:
        client.images.edit(image=selfie, prompt="a photo of a woman", extra_body={"deadline": 0.1, "steps": 20, "n": 1})
    assert raised.value.status_code in (503, 504)
    assert sent == ["0"] or raised.value.status_code == 503


def test_openai_meets_an_error_inside_a_stream(client, faceless):
    stream = client.images.edit(image=faceless, prompt="a photo of a woman", stream=True)
    with pytest.raises(openai.APIError) as raised:
        list(stream)
    assert raised.value.code == "no_face"


# ---- replicate


def inputs(selfie, **fields):
    return {"input_image": io.BytesIO(selfie), "prompt": "a photo of a woman img", **fields}


def test_replicate_runs_a_model_by_name_with_an_uploaded_file(shop, selfie):
    [output] = shop.run(PHOTOMAKER, input=inputs(selfie, seed=7))
    assert opened(output.read()).size == (256, 256)


def test_replicate_runs_a_pinned_version_with_a_file_in_the_request(shop, selfie):
    given = inputs(selfie, num_outputs=2, num_steps=20, style_name="(No style)")
    outputs = shop.run(PINNED, input=given, file_encoding_strategy="base64")
    assert [opened(output.read()).format for output in outputs] == ["PNG", "PNG"]


def test_replicate_runs_instant_id_in_the_pose_of_another_photo(shop, selfie):
    given = {"image": io.BytesIO(selfie), "pose_image": io.BytesIO(selfie), "prompt": "a woman", "output_format": "jpg"}
    [output] = shop.run(INSTANT_ID, input=given)
    assert opened(output.read()).format == "JPEG"


async def test_replicate_async_runs_too(shop, selfie):
    try:
        [output] = await shop.async_run(PHOTOMAKER, input=inputs(selfie))
        answer = await output.aread()
    finally:
        await shop._async_client.aclose()
    assert opened(answer).format == "PNG"


def test_replicate_creates_polls_and_gets(shop, selfie):
    prediction = shop.predictions.create(version=PINNED.split(":")[1], input=inputs(selfie, num_steps=50))
    assert prediction.status == "starting"
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.output[0].startswith("data:image/png;base64,")
    assert prediction.progress.percentage == 1.0
    assert prediction.metrics["predict_time"] > 0
    again = shop.predictions.get(prediction.id)
    assert again.output == prediction.output
    assert "prompt" not in again.input
    assert again.input["num_steps"] == 50


def test_replicate_waits_as_long_as_it_asks_and_then_polls(shop, selfie):
    """A wait that expires must answer `starting`: `processing` would make run() return nothing."""
    slow = {"image": io.BytesIO(selfie), "prompt": "a woman", "steps": 50, "n": 8, "subject": "woman"}
    prediction = shop.models.predictions.create(("proofsheet", "portraits"), input=slow, wait=1)
    assert prediction.status in ("starting", "succeeded")
    prediction.wait()
    assert len(prediction.output) == 8


def test_replicate_cancels(shop, selfie):
    slow = {"image": io.BytesIO(selfie), "prompt": "a woman", "steps": 50, "n": 8}
    prediction = shop.models.predictions.create(("proofsheet", "portraits"), input=slow)
    prediction.cancel()
    assert prediction.status == "canceled"
    prediction.reload()
    assert prediction.status == "canceled"
    assert prediction.output is None


def test_replicate_lists_pages(shop, selfie):
    made = shop.models.predictions.create(PHOTOMAKER, input=inputs(selfie))
    page = shop.predictions.list()
    assert made.id in [prediction.id for prediction in page]
    assert page.previous is None


def test_replicate_streams_progress_and_pictures(shop, selfie):
    events = list(shop.stream(PHOTOMAKER, input=inputs(selfie)))
    names = [event.event.value for event in events]
    assert names[-2:] == ["output", "done"]
    assert "logs" in names
    assert opened(events[-2].data.read()).format == "PNG"


def test_replicate_keeps_files_for_their_caller(shop, selfie):
    file = shop.files.create(io.BytesIO(selfie))
    assert shop.files.get(file.id).size == len(selfie)
    assert file.id in [one.id for one in shop.files.list()]
    assert shop.files.delete(file.id)
    with pytest.raises(ReplicateError) as raised:
        shop.files.get(file.id)
    assert raised.value.status == 404


def test_replicate_knows_the_models_and_their_versions(shop):
    model = shop.models.get(PHOTOMAKER)
    assert [version.id for version in model.versions.list()] == [PINNED.split(":")[1]]
    schema = model.versions.get(PINNED.split(":")[1]).openapi_schema
    assert "input_image" in schema["components"]["schemas"]["Input"]["required"]
    assert PHOTOMAKER in [one.id for one in shop.models.list()]


def test_replicate_has_deployments(shop, selfie):
    prediction = shop.deployments.predictions.create(tuple(PHOTOMAKER.split("/")), inputs(selfie))
    prediction.wait()
    assert prediction.status == "succeeded"


def test_replicate_tells_of_a_bad_selfie_as_a_failed_prediction(shop, faceless):
    with pytest.raises(ModelError) as raised:
        shop.run(PHOTOMAKER, input=inputs(faceless))
    assert raised.value.prediction.status == "failed"
    assert "face" in str(raised.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"style_name": "Anime"}, "style_name"),
        ({"num_outputs": 9}, "num_outputs"),
        ({"prompt": "a man img and a woman img"}, "trigger word"),
        ({"input_image": "https://example.org/me.jpg"}, "not fetched"),
    ],
)
def test_replicate_refuses_input_with_422_and_a_sentence(shop, selfie, fields, words):
    with pytest.raises(ReplicateError, match=words) as raised:
        shop.run(PHOTOMAKER, input=inputs(selfie) | fields)
    assert raised.value.status == 422
