"""A job that goes on with a warning says so wherever its answer goes."""

import json

import pytest

from models.wire.events import JobWarning, Pair
from scripts.fronts.fake_worker import Script
from tests.service.clients import PICTURE
from tests.service.harness import SELFIE, build_service, client_of

WARNING = JobWarning(
    code="identities_disagree",
    message="The selfies seem to be of 2 people.",
    value=0.31,
    limit=0.35,
    pairs=[Pair(selfies=(0, 1), likeness=0.31)],
)
SHOWN = [
    {
        "code": "identities_disagree",
        "message": "The selfies seem to be of 2 people.",
        "value": 0.31,
        "limit": 0.35,
        "pairs": [{"selfies": [0, 1], "likeness": 0.31}],
    }
]
TWO = [("image", ("1.jpg", SELFIE, "image/jpeg")), ("image", ("2.jpg", SELFIE, "image/jpeg"))]
STREAM = {"Accept": "text/event-stream"}
OWN = {"input": {"images": [PICTURE, PICTURE], "prompt": "a woman"}}


def warning_service(*warnings):
    return build_service(script=Script(warnings=warnings))


def data_of(text, name):
    """Of the first event of that name."""
    block = next(block for block in text.split("\n\n") if f"event: {name}\n" in block + "\n")
    return block.partition("data: ")[2]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/portraits", {"files": TWO}),
        ("/v1/identities", {"files": TWO}),
        ("/v1/images/edits", {"files": TWO, "data": {"prompt": "a woman"}}),
    ],
)
async def test_an_answer_in_json_has_the_warning_with_its_pairs(path, sent):
    async with client_of(warning_service(WARNING)) as client:
        answer = await client.post(path, **sent)
    assert answer.status_code == 200
    assert answer.json()["warnings"] == SHOWN


async def test_a_plain_picture_names_the_codes_in_a_header():
    async with client_of(warning_service(WARNING)) as client:
        warned = await client.post("/v1/portraits", files=TWO, headers={"Accept": "image/jpeg"})
    async with client_of(warning_service()) as client:
        plain = await client.post("/v1/portraits", files=TWO, headers={"Accept": "image/jpeg"})
    assert warned.headers["x-warnings"] == "identities_disagree"
    assert "x-warnings" not in plain.headers


async def test_streams_and_jobs_have_it_too():
    async with client_of(warning_service(WARNING)) as client:
        events = await client.post("/v1/portraits", files=TWO, headers=STREAM)
        images = await client.post("/v1/images/edits", files=TWO, data={"prompt": "a woman", "stream": "true"})
        later = await client.post("/v1/portraits", files=TWO, headers={"Prefer": "respond-async"})
        await client.get(f"{later.headers['location']}/events")
        job = await client.get(later.headers["location"])
    assert json.loads(data_of(events.text, "started"))["warnings"] == SHOWN
    assert json.loads(data_of(images.text, "image_edit.completed"))["warnings"] == SHOWN
    assert job.json()["warnings"] == SHOWN


@pytest.mark.parametrize("path", ["/v1/models/proofsheet/portraits/predictions", "/predictions"])
async def test_a_prediction_has_it_in_its_logs(path):
    values = OWN if "models" in path else {"input": {"input_image": PICTURE, "prompt": "a man img"}}
    async with client_of(warning_service(WARNING)) as client:
        answer = await client.post(path, json=values, headers={"Prefer": "wait"})
        stream = await client.get(answer.json()["urls"]["stream"]) if "models" in path else None
    assert WARNING.message in answer.json()["logs"].splitlines()
    assert stream is None or data_of(stream.text, "logs") == WARNING.message


async def test_an_answer_without_warnings_has_an_empty_list():
    async with client_of(warning_service()) as client:
        answer = await client.post("/v1/portraits", files=TWO)
        stream = await client.post("/v1/images/edits", files=TWO, data={"prompt": "a woman", "stream": "true"})
    assert answer.json()["warnings"] == []
    assert "warnings" not in json.loads(data_of(stream.text, "image_edit.completed"))


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/portraits", {"files": TWO, "data": {"disagreeing": "refuse"}}),
        ("/v1/portraits?disagreeing=refuse", {"content": SELFIE, "headers": {"Content-Type": "image/jpeg"}}),
        ("/v1/identities", {"files": TWO, "data": {"disagreeing": "refuse"}}),
        ("/v1/images/edits", {"files": TWO, "data": {"prompt": "a woman", "disagreeing": "refuse"}}),
        (
            "/v1/models/proofsheet/portraits/predictions",
            {"json": {"input": OWN["input"] | {"disagreeing": "refuse"}}, "headers": {"Prefer": "wait"}},
        ),
    ],
)
async def test_who_wants_to_be_refused_instead_can_say_so(path, sent):
    service = warning_service()
    async with client_of(service) as client:
        assert (await client.post(path, **sent)).status_code in (200, 201)
        assert (await client.post("/v1/portraits", files=TWO)).status_code == 200
    assert [order.disagreeing for order in service.fakes[0].orders] == ["refuse", "warn"]


async def test_warnings_are_counted_by_their_code():
    service = warning_service(WARNING)
    async with client_of(service) as client:
        await client.post("/v1/portraits", files=TWO)
    assert service.figure("warnings_total", code="identities_disagree") == 1
