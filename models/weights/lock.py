"""What was first seen in a weights folder and is held to ever after: `manifest.lock`.

Hashes that nobody published, the commit that a repository without a pinned revision was at, and which safetensors
file was converted from which pickle.
"""

import os
from pathlib import Path
from typing import Self

import msgspec

from models.weights.errors import WeightsError

LOCK_NAME = "manifest.lock"


class Conversion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hash of a pickle and of the safetensors file that was made from it."""

    pickle: str
    safetensors: str


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The lock file: JSON, sorted, for people to read and to keep under version control."""

    files: dict[str, str] = {}
    revisions: dict[str, str] = {}
    conversions: dict[str, Conversion] = {}


class Lock:
    """Read once, changed by one thread, saved when told to."""

    def __init__(self, root: Path) -> None:
        """Raises WeightsError if there is a lock that can't be read."""
        self._path = root / LOCK_NAME
        self._saved = self._read()
        self.files = dict(self._saved.files)  # sha256 by path
        self.revisions = dict(self._saved.revisions)  # commit by repository
        self.conversions = dict(self._saved.conversions)  # by the converted file's path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.save()

    def save(self) -> None:
        """A read-only weights folder keeps no lock; its files can't change either."""
        contents = Contents(self.files, self.revisions, self.conversions)
        if contents == self._saved or not os.access(self._path.parent, os.W_OK):
            return
        partial = self._path.with_suffix(".lock.partial")
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(contents, order="sorted"), indent=1) + b"\n")
        partial.replace(self._path)
        self._saved = contents

    def _read(self) -> Contents:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Contents)
        except FileNotFoundError:
            return Contents()
        except (OSError, msgspec.DecodeError) as error:
            raise WeightsError(f"{self._path} can't be read ({error}); delete it to lock the files anew") from error
