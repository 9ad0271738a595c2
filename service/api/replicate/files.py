"""Files that callers upload before a prediction: in memory only, for a short time, within a bound, never shown again.

The `replicate` client sends every file input through here unless it is told to put it into the request.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.access.caller import Caller
from service.api.body.data_url import read_data_url
from service.api.replicate.translation import refuse
from service.errors import NoCapacity, NotFound
from service.memory import wipe

FILE_SECONDS = 600.0
MAX_TOTAL_BYTES = 256_000_000
MAX_FILES = 1000
PATH = re.compile(r"(?:https?://[^/?#]{1,255})?(?:/[A-Za-z0-9._~/-]{0,200})?/v1/files/([A-Za-z0-9_-]{1,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """`data` is wiped when the file's time is over. Times are wall-clock seconds, for people."""

    id: str
    caller_id: str
    content_type: str
    data: bytearray
    sha256: str
    created: float
    expires: float
    size: int = field(default=0)

    def __repr__(self) -> str:
        return f"StoredFile({self.size} bytes)"


class Files:
    """Every caller's files. Used from the event loop's thread only."""

    def __init__(self, *, seconds: float = FILE_SECONDS, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        self.num_bytes = 0
        self._seconds = seconds
        self._max_total_bytes = max_total_bytes
        self._files: dict[str, StoredFile] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def add(self, caller: Caller, content_type: str, data: bytearray) -> StoredFile:
        """Keep a file for a while. Raises NoCapacity when there is no room: no other file goes before its time."""
        if self.num_bytes + len(data) > self._max_total_bytes or len(self._files) >= MAX_FILES:
            limit = self._max_total_bytes
            message = "There is no room for more files now: put the picture into the request as a data: URL."
            wait = self._seconds_to_first_expiry()
            raise NoCapacity("files_full", message, value=self.num_bytes, limit=limit, retry_after_seconds=wait)
        now = time.time()
        file = StoredFile(
            id=secrets.token_urlsafe(24),
            caller_id=caller.id,
            content_type=content_type,
            data=data,
            sha256=hashlib.sha256(data).hexdigest(),
            created=now,
            expires=now + self._seconds,
            size=len(data),
        )
        self._files[file.id] = file
        self.num_bytes += file.size
        self._timers[file.id] = asyncio.get_running_loop().call_later(self._seconds, self._drop, file.id)
        return file

    def find(self, file_id: str, caller: Caller) -> StoredFile:
        """This caller's file. Raises NotFound, which never tells whether another caller has it."""
        file = self._files.get(file_id)
        if file is None or file.caller_id != caller.id:
            message = f"You have no such file here: files are kept for {self._seconds:g} s, and then gone."
            raise NotFound("file_not_found", message, limit=self._seconds)
        return file

    def of(self, caller: Caller) -> Iterator[StoredFile]:
        """Newest first."""
        return (file for file in reversed(self._files.values()) if file.caller_id == caller.id)

    def remove(self, file_id: str, caller: Caller) -> None:
        """Raises NotFound."""
        self._drop(self.find(file_id, caller).id)

    def clear(self) -> None:
        for file_id in list(self._files):
            self._drop(file_id)

    def _drop(self, file_id: str) -> None:
        file = self._files.pop(file_id)
        self._timers.pop(file_id).cancel()
        self.num_bytes -= file.size
        wipe([file.data])

    def _seconds_to_first_expiry(self) -> int:
        first = next(iter(self._files.values()), None)
        return 1 if first is None else min(max(int(first.expires - time.time()) + 1, 1), 60)


def read_uri(name: str, uri: str, files: Files, caller: Caller, *, max_bytes: int) -> bytearray:
    """The bytes behind an input's URI: a data: URL, or this caller's file. Raises BadInput, BadRequest, TooLarge."""
    match = PATH.fullmatch(uri) if len(uri) < 1024 else None
    if match is None:
        return read_data_url(name, uri, max_bytes=max_bytes)
    try:
        return bytearray(files.find(match[1], caller).data)  # a copy: the job wipes what it gets
    except NotFound as error:
        raise refuse(name, f"'{name}' names a file that is not here: {error.message}", "file_not_found") from None
