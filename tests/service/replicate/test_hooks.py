"""News of predictions: which, how often, and that the real package believes them."""

import asyncio
import json

import pytest
from replicate.webhook import Webhooks as ReplicateWebhooks
from replicate.webhook import WebhookSigningSecret

from models.wire.events import Done, Portrait, Started, Stepped
from models.wire.filled_sampling import FilledSampling
from models.wire.groups import Placing
from scripts.fronts.fake_worker import TIMINGS, Script
from service.api.replicate.catalogue import OWN
from service.api.replicate.hooks import Hooks, Throttle
from service.api.replicate.predictions import Prediction
from service.api.replicate.requests import ALL_EVENTS
from service.errors import JobCancelled
from tests.service.clients import PICTURE
from tests.service.harness import build_service, client_of, until
from tests.service.some_job import some_job
from tests.service.test_webhooks import Receiver

SAMPLING = FilledSampling(size="256x256", steps=4, sampler="euler", guidance=1.0, strength=1.0)
STARTED = Started(job_id="j", faces=[], adapter="a", sampling=SAMPLING, placing=Placing())
PORTRAIT = Portrait(job_id="j", index=0, seed=0, format="png", width=256, height=256, data=b"picture")


def step(number):
    return Stepped(job_id="j", index=0, step=number, steps=4)


class Recorder:
    """Webhooks that note what they are to deliver."""

    def __init__(self):
        self.sent = []

    def deliver(self, target, event_name, body, *, caller_id, retry=True):
        self.sent.append((event_name, json.loads(body)["status"], retry))
        return True


async def told(happen, wanted=ALL_EVENTS):
    """What is sent while `happen(job)` makes a job's events."""

    recorder = Recorder()
    hooks, job = Hooks(recorder), some_job()
    prediction = Prediction(id=job.id, job=job, model=OWN, version="1", shown_input={})
    hooks.follow(prediction, ("https://example.org/hook", frozenset(wanted)), "http://front/")
    for event in happen:
        job.take(event) if not isinstance(event, JobCancelled) else job.end(event)
        await asyncio.sleep(0)
    await hooks.stop()
    return recorder.sent


async def test_start_output_and_completed_come_once_and_progress_is_held_back():
    sent = await told([STARTED, step(1), step(2), step(3), PORTRAIT, Done(job_id="j", timings=TIMINGS)])
    assert sent == [("start", "processing", False), ("logs", "processing", False), ("completed", "succeeded", True)]


async def test_only_what_was_asked_for_is_sent():
    sent = await told([STARTED, step(1), PORTRAIT, Done(job_id="j", timings=TIMINGS)], wanted=("completed",))
    assert sent == [("completed", "succeeded", True)]


async def test_a_cancelled_prediction_is_completed():
    assert (await told([STARTED, JobCancelled("cancelled", "Cancelled.")]))[-1] == ("completed", "canceled", True)


async def test_the_throttle_lets_one_through_in_its_time():
    throttle = Throttle(0.05)
    first = [throttle.holds_back() for _ in range(3)]
    await asyncio.sleep(0.06)
    assert [*first, throttle.holds_back()] == [False, True, True, False]


@pytest.mark.parametrize("old", [False, True], ids=["webhook", "webhook_completed"])
async def test_the_real_package_believes_what_arrives(old):
    receiver = Receiver(200)

    async with receiver.listening() as port, client_of(build_service(webhook_loopback=True)) as client:
        target = f"http://127.0.0.1:{port}/hook"
        hook = {"webhook_completed": target} if old else {"webhook": target, "webhook_events_filter": ["completed"]}
        body = {"input": {"image": PICTURE, "prompt": "a woman"}, **hook}
        made = await client.post("/v1/models/proofsheet/portraits/predictions", json=body)
        await until(lambda: receiver.requests)
        prediction_id, secret = made.json()["id"], (await client.get("/v1/webhooks/default/secret")).json()
    [(_, headers, body)] = receiver.requests
    ReplicateWebhooks.validate(headers=headers, body=body.decode(), secret=WebhookSigningSecret(**secret), tolerance=60)
    assert (json.loads(body)["id"], json.loads(body)["status"]) == (prediction_id, "succeeded")


@pytest.mark.parametrize("path", ["/v1/models/proofsheet/portraits/predictions", "/predictions"])
@pytest.mark.parametrize("ended", [True, False], ids=["after its end", "while it runs"])
async def test_a_prediction_that_is_sent_again_is_told_of_once(path, ended):
    receiver = Receiver(200)
    key, script = {"Idempotency-Key": '"again"', "Prefer": "respond-async"}, Script(step_seconds=0.0 if ended else 0.05)

    service = build_service(webhook_loopback=True, cog_model="proofsheet/portraits", script=script)
    async with receiver.listening() as port, client_of(service) as client:
        hook = {"webhook": f"http://127.0.0.1:{port}/hook", "webhook_events_filter": ["completed"]}
        body = {"input": {"image": PICTURE, "prompt": "a woman"}, **hook}
        first = await client.post(path, json=body, headers=key)
        if ended:
            await until(lambda: receiver.requests)
        again = await client.post(path, json=body, headers=key)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json()["id"] == first.json()["id"]
        await until(lambda: receiver.requests)
        other = await client.post(path, json=body, headers={"Prefer": "respond-async"})
        await until(lambda: any(other.json()["id"].encode() in body for _, _, body in receiver.requests))
    told = [json.loads(body)["id"] for _, _, body in receiver.requests]
    assert told == [first.json()["id"], other.json()["id"]]
