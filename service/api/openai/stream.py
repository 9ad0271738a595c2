"""A job as OpenAI's stream: partial images, then each finished one; an error as an event with an `error` in it."""

import math
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from models.wire.events import Portrait, Started, Stepped
from service.api.openai.fields import ImagesRequest
from service.api.openai.objects import CompletedEvent, PartialImageEvent, proof_of, warnings_of
from service.api.openai.refusals import openai_error
from service.errors import ServiceError
from service.jobs.job import Job
from service.jobs.log import Ended, Logged, Queued

Kind = Literal["image_edit", "image_generation"]
Tell = Callable[[ServiceError], dict[str, Any]]  # an error as its problem, noted in the request's record


class OpenAIEvents:
    """Tells a job's events one by one, as bytes; those that OpenAI has no word for become comments or nothing."""

    def __init__(self, job: Job, asked: ImagesRequest, kind: Kind, tell: Tell) -> None:
        self._job = job
        self._asked = asked
        self._kind = kind
        self._tell = tell
        self._size = ""
        self._partial_steps: list[int] = []

    def __call__(self, logged: Logged) -> bytes:
        match logged.event:
            case Queued():
                return b": queued\n\n"
            case Started() as started:
                self._size = started.sampling.size
                self._partial_steps = steps_with_partials(self._asked.theirs.partial_images, started.sampling.steps)
                return b": started\n\n"
            case Stepped() as stepped if stepped.preview is not None and stepped.step in self._partial_steps:
                return self._partial(stepped, stepped.preview)
            case Portrait() as portrait:
                return self._completed(portrait)
            case Ended(error):
                return sse("error", openai_error(self._tell(error)))
            case _:
                return b""

    def _partial(self, stepped: Stepped, preview: bytes) -> bytes:
        name = f"{self._kind}.partial_image"
        event = PartialImageEvent(
            type=name,
            b64_json=preview,
            partial_image_index=self._partial_steps.index(stepped.step),
            created_at=int(time.time()),
            quality=self._asked.quality,
            size=self._size,
            image_index=stepped.index,
        )
        return sse(name, event)

    def _completed(self, portrait: Portrait) -> bytes:
        name = f"{self._kind}.completed"
        event = CompletedEvent(
            type=name,
            b64_json=portrait.data,
            created_at=int(time.time()),
            output_format=portrait.format,
            quality=self._asked.quality,
            size=f"{portrait.width}x{portrait.height}",
            id=self._job.id,
            image_index=portrait.index,
            seed=portrait.seed,
            proof=proof_of(self._job, portrait),
            warnings=warnings_of(self._job),
        )
        return sse(name, event)


def steps_with_partials(count: int, steps: int) -> list[int]:
    """After which steps a partial image goes out: evenly spread, and never the last, which is the picture itself.

    Fewer than `count` where there are few steps.
    """
    chosen = {math.ceil(steps * (k + 1) / (count + 1)) for k in range(count)}
    return sorted(chosen - {steps})


def sse(name: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), msgspec.json.encode(data))
