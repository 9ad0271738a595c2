"""What is noted while one request is served: its log line, headers and metrics are made of it.

It holds no value that a caller sent, but for the request id, which is checked.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Generator
from typing import Any, cast

from service.telemetry import Trace, continue_trace

SANE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
KEY = "proofsheet_record"


class RequestRecord:
    """One per request, made by the envelope and found by `record_of`."""

    def __init__(self, request_id: str | None, trace: Trace | None = None, prefix: str = "") -> None:
        given = request_id is not None and SANE_ID.fullmatch(request_id) is not None
        self.request_id: str = request_id if given and request_id else secrets.token_hex(8)
        self.trace = trace or continue_trace(None)
        self.prefix = prefix  # of our paths in the caller's address
        self.started = time.perf_counter()
        self.stages: dict[str, float] = {}  # name -> milliseconds, in the order they ended
        self.status = 0
        self.code: str | None = None  # the problem's, if any
        self.disconnected = False
        self.job_id: str | None = None
        self.joined = False  # whether the job is that of an earlier request with the same Idempotency-Key
        self.headers: dict[str, str] = {}  # of the answer, where it sets none of that name

    @contextlib.contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Measure a part of the request."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = round((time.perf_counter() - started) * 1e3, 2)

    @property
    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1e3

    @property
    def outcome(self) -> str:
        """ok, caller_error, no_capacity, deadline, failed or disconnected."""
        if self.disconnected or self.status == 0:
            return "disconnected"
        if self.status < 400 and self.code is None:
            return "ok"
        if self.status == 503 or self.code in ("queue_full", "worker_lost"):
            return "no_capacity"
        if self.status == 504 or self.code == "deadline_exceeded":
            return "deadline"
        return "caller_error" if 400 <= self.status < 500 else "failed"

    def server_timing(self) -> str:
        """The Server-Timing header: stages and the total so far, in milliseconds."""
        parts = [f"{name};dur={milliseconds:.1f}" for name, milliseconds in self.stages.items()]
        return ", ".join([*parts, f"total;dur={self.elapsed_ms:.1f}"])


def record_of(scope: Any) -> RequestRecord:
    """The record of the request with this ASGI scope."""
    return cast(RequestRecord, scope[KEY])
