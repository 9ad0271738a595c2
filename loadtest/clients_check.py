"""Drives a running service with the real `openai` and `replicate` packages and prints what works.

    python loadtest/clients_check.py http://127.0.0.1:8000 [--selfie me.jpg] [--key ps_...]

Without a selfie it takes the photograph that scikit-image brings. Exit status 1 when something does not work. Needs the
packages of the `dev` extra.
"""

import argparse
import asyncio
import base64
import io
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import openai
from PIL import Image
from replicate.client import Client as ReplicateClient
from replicate.exceptions import ModelError, ReplicateError

PHOTOMAKER = "tencentarc/photomaker"
PINNED = "ddfc2b08d209f9fa8c1eca692712918bd449f695dabb4a958da31802a9570fe4"
INSTANT_ID = "zsxkib/instant-id"
OWN = ("proofsheet", "portraits")
PROMPT = "portrait photo of a woman in a red coat"
TIMEOUT_SECONDS = 120.0


class NotHere(Exception):
    """The service has not loaded what this check needs."""


@dataclass(frozen=True, slots=True)
class Result:
    client: str
    name: str
    outcome: str  # works, skipped, or what went wrong
    seconds: float


class Check:
    """Both clients at one service, and the pictures that they send."""

    def __init__(self, address: str, key: str, selfie: bytes) -> None:
        self.selfie = selfie
        self.faceless = as_jpeg(Image.new("RGB", (400, 400), "grey"))
        self.openai = openai.OpenAI(base_url=f"{address}/v1", api_key=key, timeout=TIMEOUT_SECONDS)
        self.async_openai = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=key, timeout=TIMEOUT_SECONDS)
        self.replicate = ReplicateClient(api_token=key, base_url=address)

    def inputs(self, **more: Any) -> dict[str, Any]:
        return {"input_image": io.BytesIO(self.selfie), "prompt": "a photo of a woman img", **more}

    def own(self, **more: Any) -> dict[str, Any]:
        return {"image": io.BytesIO(self.selfie), "prompt": PROMPT, **more}

    def need(self, adapter: str) -> None:
        names = [model.id for model in self.openai.models.list()]
        if not any(name.startswith(adapter) for name in names):
            raise NotHere(f"{adapter} is not loaded")

    # ---- openai

    def models(self) -> None:
        [first, *_] = self.openai.models.list()
        assert self.openai.models.retrieve(first.id).id == first.id

    def edit(self) -> None:
        answer = self.openai.images.edit(image=self.selfie, prompt=PROMPT, n=2)
        assert [opened(image.b64_json).format for image in answer.data or []] == ["PNG", "PNG"]

    def edit_with_our_fields(self) -> None:
        both = [("a.jpg", self.selfie, "image/jpeg"), ("b.jpg", self.selfie, "image/jpeg")]
        answer = self.openai.images.edit(image=both, prompt=PROMPT, size="1024x1024", extra_body={"seed": 7})
        assert answer.data is not None
        assert getattr(answer.data[0], "seed", None) == 7

    def edit_async(self) -> None:
        async def run() -> None:
            async with self.async_openai as client:
                both = [client.images.edit(image=self.selfie, prompt=PROMPT) for _ in range(2)]
                assert all(answer.data for answer in await asyncio.gather(*both))

        asyncio.run(run())

    def edit_stream(self) -> None:
        events = list(self.openai.images.edit(image=self.selfie, prompt=PROMPT, stream=True, partial_images=2))
        names = [event.type.partition(".")[2] for event in events]
        assert names[-1] == "completed"
        assert "partial_image" in names, "no partial image"

    def error(self) -> None:
        error = caught(openai.BadRequestError, lambda: self.openai.images.edit(image=self.selfie, prompt="x", n=0))
        assert (error.code, error.param) == ("invalid_field", "n")
        assert error.request_id

    def no_retry(self) -> None:
        error = caught(
            openai.UnprocessableEntityError, lambda: self.openai.images.edit(image=self.faceless, prompt=PROMPT)
        )
        assert error.response.headers["x-should-retry"] == "false"

    def why_a_selfie(self) -> None:
        error = caught(openai.BadRequestError, lambda: self.openai.images.generate(prompt=PROMPT))
        assert error.code == "selfie_needed"

    # ---- replicate

    def run_by_name(self) -> None:
        self.need("photomaker")
        [output] = self.replicate.run(PHOTOMAKER, input=self.inputs())
        assert opened(output.read()).format == "PNG"

    def run_by_version(self) -> None:
        self.need("photomaker")
        given = self.inputs(num_outputs=2, num_steps=20)
        outputs = self.replicate.run(f"{PHOTOMAKER}:{PINNED}", input=given, file_encoding_strategy="base64")
        assert len(list(outputs)) == 2

    def run_instant_id(self) -> None:
        self.need("instantid")
        given = {"image": io.BytesIO(self.selfie), "prompt": PROMPT, "output_format": "jpg"}
        [output] = self.replicate.run(INSTANT_ID, input=given)
        assert opened(output.read()).format == "JPEG"

    def poll(self) -> None:
        prediction = self.replicate.models.predictions.create(OWN, input=self.own(n=2))
        assert prediction.status == "starting"
        prediction.wait()
        assert prediction.status == "succeeded"
        assert len(prediction.output or []) == 2

    def wait_expires(self) -> None:
        prediction = self.replicate.models.predictions.create(OWN, input=self.own(n=8), wait=1)
        assert prediction.status in ("starting", "succeeded")
        prediction.wait()
        assert prediction.status == "succeeded"

    def cancel(self) -> None:
        prediction = self.replicate.models.predictions.create(OWN, input=self.own(n=8))
        prediction.cancel()
        assert prediction.status in ("canceled", "succeeded")

    def listed(self) -> None:
        made = self.replicate.models.predictions.create(OWN, input=self.own())
        assert made.id in [one.id for one in self.replicate.predictions.list()]

    def files(self) -> None:
        file = self.replicate.files.create(io.BytesIO(self.selfie))
        assert self.replicate.files.get(file.id).size == len(self.selfie)
        assert self.replicate.files.delete(file.id)

    def stream(self) -> None:
        self.need("photomaker")
        names = [event.event.value for event in self.replicate.stream(PHOTOMAKER, input=self.inputs())]
        assert names[-2:] == ["output", "done"]

    def schema(self) -> None:
        version = self.replicate.models.get(PHOTOMAKER).versions.get(PINNED)
        assert "input_image" in version.openapi_schema["components"]["schemas"]["Input"]["properties"]

    def webhook_secret(self) -> None:
        assert self.replicate.webhooks.default.secret().key.startswith("whsec_")

    def failed(self) -> None:
        given = {"image": io.BytesIO(self.faceless), "prompt": PROMPT}
        error = caught(ModelError, lambda: self.replicate.run("/".join(OWN), input=given))
        assert error.prediction.status == "failed"

    def refused(self) -> None:
        error = caught(ReplicateError, lambda: self.replicate.run("/".join(OWN), input=self.own(n=0)))
        assert error.status == 422

    def close(self) -> None:
        self.openai.close()
        with suppress(AttributeError):
            self.replicate._client.close()  # the package offers no other way


CHECKS: list[tuple[str, str, Callable[[Check], None]]] = [
    ("openai", "models.list and .retrieve", Check.models),
    ("openai", "images.edit", Check.edit),
    ("openai", "images.edit, several selfies and our fields", Check.edit_with_our_fields),
    ("openai", "images.edit, async", Check.edit_async),
    ("openai", "images.edit, stream with partial images", Check.edit_stream),
    ("openai", "an error has code, param and request id", Check.error),
    ("openai", "a bad selfie is not sent again", Check.no_retry),
    ("openai", "images.generate says why it needs a selfie", Check.why_a_selfie),
    ("replicate", "run, by name, with an uploaded file", Check.run_by_name),
    ("replicate", "run, by a pinned version, with base64", Check.run_by_version),
    ("replicate", "run, InstantID", Check.run_instant_id),
    ("replicate", "create, then poll", Check.poll),
    ("replicate", "a wait that expires goes on", Check.wait_expires),
    ("replicate", "cancel", Check.cancel),
    ("replicate", "predictions.list", Check.listed),
    ("replicate", "files", Check.files),
    ("replicate", "stream", Check.stream),
    ("replicate", "versions and their schema", Check.schema),
    ("replicate", "the webhooks' secret", Check.webhook_secret),
    ("replicate", "a bad selfie is a failed prediction", Check.failed),
    ("replicate", "wrong input is a 422", Check.refused),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="where the service listens, such as http://127.0.0.1:8000")
    parser.add_argument("--selfie", type=Path, help="a photo of one face")
    parser.add_argument("--key", default="none", help="an API key, if the service asks for one")
    arguments = parser.parse_args()
    selfie = arguments.selfie.read_bytes() if arguments.selfie else example_selfie()
    results = run_all(Check(arguments.address.rstrip("/"), arguments.key, selfie))
    print(table(results))
    sys.exit(exit_status(results))


def run_all(check: Check) -> list[Result]:
    try:
        return [run_one(check, client, name, act) for client, name, act in CHECKS]
    finally:
        check.close()


def run_one(check: Check, client: str, name: str, act: Callable[[Check], None]) -> Result:
    """Whatever goes wrong is the result, in one line: a check must not end the others."""
    started = time.perf_counter()
    try:
        act(check)
        outcome = "works"
    except NotHere as reason:
        outcome = f"skipped: {reason}"
    except Exception as error:
        outcome = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return Result(client, name, outcome, time.perf_counter() - started)


def exit_status(results: list[Result]) -> int:
    """1 when something does not work; what the service has not loaded is not broken."""
    return int(any(result.outcome != "works" and not is_skip(result) for result in results))


def is_skip(result: Result) -> bool:
    return result.outcome.startswith("skipped")


def table(results: list[Result]) -> str:
    width = max(len(result.name) for result in results)
    lines = [f"{one.client:9}  {one.name:{width}}  {one.seconds:6.2f} s  {one.outcome}" for one in results]
    works = sum(one.outcome == "works" for one in results)
    skipped = sum(is_skip(one) for one in results)
    versions = ", ".join(f"{name} {version(name)}" for name in ("openai", "replicate"))
    return "\n".join([*lines, f"{works} of {len(results)} work, {skipped} skipped ({versions})"])


def caught(kind: type[Exception], act: Callable[[], Any]) -> Any:
    """The error that `act` must raise."""
    try:
        act()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} came")


def example_selfie() -> bytes:
    import skimage.data

    return as_jpeg(Image.fromarray(skimage.data.astronaut()))


def as_jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    return out.getvalue()


def opened(data: str | bytes | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data))


if __name__ == "__main__":
    main()
