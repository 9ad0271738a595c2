"""One refusal in the shapes of four surfaces."""

import pytest

from service.api.surface import shape_at
from service.api.surfaces import SURFACES
from service.errors import BadRequest, BadSelfie, DeadlineExceeded, NoCapacity
from tests.service.harness import build_service, client_of

WRONG = BadRequest("invalid_field", "The field 'n' is 0.", limit=1, extra={"field": "n"}).problem("r1")


def told_at(path, problem):
    """Its body, media type and further headers."""
    shape = shape_at(path, SURFACES)
    return shape.tell(problem), shape.media_type, shape.headers(problem["status"])


def test_openai_gets_its_error_object_and_nothing_beside_it():
    body, media_type, _ = told_at("/v1/images/edits", WRONG)
    assert media_type == "application/json"
    assert body == {
        "error": {
            "message": "The field 'n' is 0.",
            "type": "invalid_request_error",
            "param": "n",
            "code": "invalid_field",
            "request_id": "r1",
            "limit": 1,
        }
    }


def test_the_models_page_answers_both_kinds_of_client():
    body, media_type, _ = told_at("/v1/models/x", WRONG)
    assert media_type == "application/problem+json"
    assert body["detail"] == body["error"]["message"]


def test_cog_gets_the_place_of_a_wrong_input():
    problem = BadSelfie("no_face", "No face.", extra={"field": "image"}).problem("r1")
    body, _, _ = told_at("/predictions/a1", problem)
    assert body == {"detail": [{"loc": ["body", "input", "image"], "msg": "No face.", "type": "no_face"}]}


def test_replicate_gets_the_problem_as_it_is():
    assert told_at("/v1/predictions", WRONG) == (WRONG, "application/problem+json", {})


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (NoCapacity("queue_full", "Full.", retry_after_seconds=3), "true"),
        (BadSelfie("no_face", "No face."), "false"),
        (DeadlineExceeded("deadline_exceeded", "Late."), "false"),
    ],
)
def test_an_openai_client_is_told_to_retry_only_where_it_helps(error, retry):
    assert told_at("/v1/images/edits", error.problem("r1"))[2] == {"x-should-retry": retry}


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/images/edits", 405), ("POST", "/v1/images/x", 404)]
)
async def test_what_no_route_takes_is_refused_in_the_shape_of_its_surface(method, path, status):
    async with client_of(build_service()) as client:
        answer = await client.request(method, path)
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.status_code in (status, 404)
