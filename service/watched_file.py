"""A file that is read again when it changes: keys are added and revoked without a restart."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

logger = logging.getLogger("proofsheet.watched")

LOOK_SECONDS = 1.0  # how old an answer may be: one stat a second costs nothing, one per request would
T = TypeVar("T")


class WatchedFile(Generic[T]):
    """What `parse` makes of the file's text. The first reading raises OSError or what `parse` raises: a ValueError
    whose words may be logged.

    A later text that can't be read or parsed is refused with a log line, and what was read before goes on: a slip of
    an editor must not lock every caller out. Saying so again waits for the next change.
    """

    def __init__(self, path: Path, parse: Callable[[str], T], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._parse = parse
        self._clock = clock
        self._seen = self._fingerprint()
        self._value = parse(path.read_text(encoding="utf-8"))
        self._looked = clock()

    def current(self) -> T:
        now = self._clock()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._value

    def _look(self) -> None:
        fingerprint = self._fingerprint()
        if fingerprint == self._seen:
            return
        self._seen = fingerprint
        try:
            self._value = self._parse(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fields = {"file": self._path.name, "reason": str(error)}
            logger.error("a changed file can't be used; its old content stays", extra={"fields": fields})
        else:
            logger.info("a changed file was read again", extra={"fields": {"file": self._path.name}})

    def _fingerprint(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
