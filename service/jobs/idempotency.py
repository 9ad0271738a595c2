"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a request that is sent again gets the same job.

While the job runs, the duplicate joins it; afterwards it gets the same answer for as long as the job is kept. Only
what a retry should not change is remembered: good ends, and refusals for which the caller is to blame. A job that we
failed, that was cancelled or came too late is forgotten at its end, and the key may try again.
"""

import hashlib
import re
from collections.abc import Callable, Sequence

import msgspec

from service.errors import BadRequest, KeyReused
from service.jobs.books import Books
from service.jobs.job import Job
from service.jobs.options import JobOptions

MAX_KEY_LENGTH = 255
KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"|([\x21\x23-\x5b\x5d-\x7e]+)')
CALLERS_FAULT = range(400, 500)
NOT_KEPT = (408, 409, 429)  # of those: too slow, cancelled, too many


def read_key(header: str | None) -> str | None:
    """The key: a Structured Field string, `"..."`, or the same without quotes, as many send it. Raises BadRequest."""
    if header is None:
        return None
    match = KEY.fullmatch(header.strip()) if len(header) <= MAX_KEY_LENGTH + 2 else None
    key = (match[1] or match[2] or "") if match else ""
    if not key:
        raise BadRequest(
            "idempotency_key_invalid",
            f'The header Idempotency-Key must be a text of 1 to {MAX_KEY_LENGTH} ASCII characters in quotes, such as "'
            '8e03978e-40d5-43dd-bc93-6894a57f9324".',
            extra={"header": "Idempotency-Key"},
        )
    return key


def fingerprint(route: str, fields: object, files: Sequence[bytes | bytearray]) -> bytes:
    """What makes two requests the same: where they were sent, their parsed fields, their files. No wire format."""
    told = hashlib.sha256(msgspec.json.encode([route, msgspec.to_builtins(fields)], order="sorted"))
    for file in files:
        told.update(hashlib.sha256(file).digest())
    return told.digest()


class Replays:
    """Jobs by their callers' keys. Holds no more entries than there are jobs that run or are kept."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], Job] = {}

    def find(self, caller_id: str, options: JobOptions) -> Job | None:
        """The job of the same request. Raises KeyReused when the key belongs to another one."""
        if options.idempotency_key is None or options.fingerprint is None:
            return None
        job = self._jobs.get((caller_id, options.idempotency_key))
        if job is not None and job.options.fingerprint != options.fingerprint:
            raise KeyReused(
                "idempotency_key_reused",
                "This Idempotency-Key came with other fields, photos or format before: use a new key for another one.",
                extra={"header": "Idempotency-Key"},
            )
        return job

    def knows(self, caller_id: str, key: str | None) -> bool:
        return key is not None and (caller_id, key) in self._jobs

    def remember(self, job: Job) -> None:
        """From acceptance on, so that a duplicate never runs beside it."""
        if job.replay_key is not None:
            self._jobs[job.replay_key] = job
            job.when_over(lambda: None if is_final_word(job) else self.forget(job))

    def forget(self, job: Job) -> None:
        """Forgetting again, or a job without a key, does nothing."""
        if job.replay_key is not None and self._jobs.get(job.replay_key) is job:
            del self._jobs[job.replay_key]

    def books(self, found: Callable[[str], bool]) -> Books:
        """`found` tells whether a job of this id runs or is kept."""
        return {"replays": (len(self._jobs), sum(found(job.id) for job in self._jobs.values()))}


def is_final_word(job: Job) -> bool:
    """Whether a retry should get the same again."""
    return job.error is None or (job.error.status in CALLERS_FAULT and job.error.status not in NOT_KEPT)
