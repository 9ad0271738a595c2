"""A job's end is told to the address that its caller named, signed, once, and without a face in it."""

import json

import pytest
from replicate.webhook import Webhooks, WebhookSigningSecret

from tests.service.harness import build_service, client_of, until
from tests.service.pictures import plain
from tests.service.test_webhooks import Receiver

TYPE = {"Content-Type": "image/jpeg"}


async def ended(query="", headers=None, **settings):
    """The answer to a job with a webhook, the webhook's one request, and the caller's secret."""
    receiver = Receiver(200)

    async with receiver.listening() as port, client_of(build_service(webhook_loopback=True, **settings)) as client:
        path = f"/v1/portraits?webhook=http://127.0.0.1:{port}/hook&{query}"
        answer = await client.post(path, content=plain("JPEG"), headers=TYPE | (headers or {}))
        await until(lambda: receiver.requests)
        secret = (await client.get("/v1/webhooks/default/secret")).json()
    [(_, heads, body)] = receiver.requests
    return answer, heads, body.decode(), WebhookSigningSecret(**secret)


@pytest.mark.parametrize("prefer", [{}, {"Prefer": "respond-async"}], ids=["waits", "async"])
async def test_a_finished_job_is_told_of_and_can_be_fetched(prefer):
    answer, headers, body, secret = await ended("style=corporate", prefer)
    assert answer.status_code == (202 if prefer else 200)
    Webhooks.validate(headers=headers, body=body, secret=secret, tolerance=60)
    told = json.loads(body)
    assert told["type"] == "job.succeeded"
    assert (told["data"]["id"], told["data"]["status"]) == (answer.json()["id"], "succeeded")
    assert told["data"]["images"] == []
    assert told["data"]["links"]["self"] == f"/v1/jobs/{answer.json()['id']}"


async def test_a_failed_job_is_told_of_with_its_problem():
    _, _, body, _ = await ended("prompt=FAIL:no_face:caller", {"Prefer": "respond-async"})
    told = json.loads(body)
    assert (told["type"], told["data"]["error"]["code"]) == ("job.failed", "no_face")


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://shop.example/hook", "webhook_not_https"),
        ("https://127.0.0.1/hook", "webhook_not_public"),
        ("ftp://shop.example/hook", "invalid_field"),
    ],
)
async def test_an_address_that_nothing_is_sent_to_is_refused_at_once(target, code):
    async with client_of(build_service()) as client:
        answer = await client.post(f"/v1/portraits?webhook={target}", content=plain("JPEG"), headers=TYPE)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
