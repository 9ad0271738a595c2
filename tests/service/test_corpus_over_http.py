"""The hostile corpus against the whole front, real decoders included: a refusal each time, never a 5xx."""

import httpx
import pytest

from service.decoders.pool import Decoders, ImageLimits
from tests.service.decoders.corpus import FILES, FORMS
from tests.service.harness import ServiceHarness, build_service, client_of

pytestmark = pytest.mark.slow


def service_with_real_decoders() -> ServiceHarness:
    return build_service(decoders=Decoders(ImageLimits()), max_selfies=8, max_images=8)


# A form that is fine by itself may still ask for what the fake model does not have.
MODEL_LIMITS = {"unknown_size", "unknown_sampler", "unknown_adapter", "unknown_subject", "unknown_style"}
MODEL_LIMITS |= {"steps_too_large", "deadline_too_large", "pose_unsupported"}


def check_answer(name: str, answer: httpx.Response, expect) -> str | None:
    """None, or what is wrong with this answer."""
    if answer.status_code == 200:
        return None if expect.status is None or expect.or_fine else f"{name}: was accepted"
    if answer.headers["content-type"] != "application/problem+json":
        return f"{name}: {answer.status_code} is no problem+json"
    code = answer.json()["code"]
    if expect.status is None:
        return None if code in MODEL_LIMITS else f"{name}: was refused with {code}: {answer.json()['detail']}"
    if answer.status_code != expect.status or (expect.codes and code not in expect.codes):
        return f"{name}: {answer.status_code} {code}, wanted {expect.status} {sorted(expect.codes)}"
    return None


async def test_every_hostile_file_gets_its_refusal():
    service = service_with_real_decoders()

    async with client_of(service) as client:

        async def post(file):
            answer = await client.post("/v1/portraits", content=file.data, headers={"Content-Type": "image/jpeg"})
            return check_answer(file.name, answer, file.expect)

        # No bytes at all are refused as a request without a picture, before they are one.
        result = [await post(file) for file in FILES if file.name != "empty"]
    assert [wrong for wrong in result if wrong] == []
    assert service.front.jobs.in_flight == 0


async def test_every_hostile_request_gets_its_refusal():
    service = service_with_real_decoders()

    async with client_of(service) as client:

        async def post(form):
            headers = {} if form.content_type is None else {"Content-Type": form.content_type}
            answer = await client.post(f"/v1/portraits?{form.query}", content=form.body, headers=headers)
            return check_answer(form.name, answer, form.expect)

        result = [await post(form) for form in FORMS]
    assert [wrong for wrong in result if wrong] == []
    assert service.front.jobs.in_flight == 0
