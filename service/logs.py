"""Log lines as JSON on stderr. An exception is written as its types and places, never with its values."""

import logging
import sys
import time
import traceback
from typing import Any

import msgspec


class JsonLines(logging.Formatter):
    """One JSON object per record; `extra={"fields": {...}}` joins it."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.name == "asyncio":
            message = message.partition("\n")[0]  # the rest shows tasks, and with them values
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message,
        }
        line |= getattr(record, "fields", {})
        if record.exc_info is not None and record.exc_info[1] is not None:
            line["exception"] = describe_exception(record.exc_info[1])
        return msgspec.json.encode(line).decode()


QUIET = ("uvicorn", "httpx2")  # one line per request, and with it a webhook's address, which may be a secret


def set_up_logging(level: str = "INFO") -> None:
    """Everything in this process from `level` up to stderr; the lines of QUIET from WARNING up, at least."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # No line shows these, and to find them takes as long as to write it (Logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def describe_exception(error: BaseException) -> str:
    """`TypeError at app.py:10 f < app.py:3 g`: the exception's type and its frames, innermost first, no values."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
    cause = f"; caused by {describe_exception(error.__cause__)}" if error.__cause__ is not None else ""
    return f"{type(error).__name__} at {' < '.join(places)}{cause}"
