"""A job as Replicate's stream: `output` for each picture, `logs` for progress, then `done`; or `error` before it.

The client drops an event without an id and fails on one of another name.
"""

import msgspec

from models.wire.events import Done, Portrait, Started, Stepped
from service.api.replicate.predictions import as_data_url, progress_line
from service.errors import JobCancelled
from service.jobs.log import Ended, Logged


def tell(logged: Logged) -> bytes:
    """An event's bytes; nothing for one that has no word there."""
    match logged.event:
        case Portrait() as portrait:
            return event(logged.id, "output", as_data_url(portrait))
        case Started(warnings=[_, *_] as warnings):
            return event(logged.id, "logs", " ".join(warning.message for warning in warnings))
        case Stepped() as stepped if stepped.index == 0:
            return event(logged.id, "logs", progress_line(stepped.step, stepped.steps))
        case Done():
            return event(logged.id, "done", "{}")
        case Ended(JobCancelled()):
            return event(logged.id, "done", '{"reason": "canceled"}')
        case Ended(error):
            text = msgspec.json.encode({"detail": error.message, "code": error.code}).decode()
            return event(logged.id, "error", text) + event(logged.id, "done", '{"reason": "error"}')
        case _:
            return b""


def event(number: int, name: str, data: str) -> bytes:
    """`data` has no line breaks."""
    return f"id: {number}\nevent: {name}\ndata: {data}\n\n".encode()
