"""Which face model files are known, and reading one only if it is what it says it is.

Bytes are hashed and then loaded from the same buffer, so the file that was checked is the file that runs, and an
ONNX file cannot pull in external tensor files from beside it.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


class FacesUnavailable(Exception):
    """The configured face analyzer cannot be loaded. The message is for the operator: file, place, remedy."""


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One published file: its hash and, for a recogniser, the space its embeddings live in."""

    sha256: str
    space: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file's bytes and its hash; `space` is None if the hash is not one of `KNOWN`, or not a recogniser's."""

    path: Path
    data: bytes
    sha256: str
    space: str | None

    def __repr__(self) -> str:
        return f"CheckedFile({self.path.name}, {len(self.data)} bytes, sha256 {self.sha256[:12]})"


SCRFD_10G = KnownFile("5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91")
W600K_R50 = KnownFile("4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43", space="buffalo_l")
GLINTR100 = KnownFile("4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf", space="antelopev2")
AURAFACE = KnownFile("d2c9d76203c75749d9fee70353eb7698894f751cd9b6f562752596c553222c01", space="auraface")

KNOWN = (SCRFD_10G, W600K_R50, GLINTR100, AURAFACE)


def read_checked(path: Path, expected_sha256: str | None) -> CheckedFile:
    """The file's bytes; refused if its hash is not the expected one, logged as unverified if none is expected."""
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if expected_sha256 is None:
        log.warning("%s is unverified: no hash is on record for it; its sha256 is %s", path.name, sha256)
    elif sha256 != expected_sha256:
        raise FacesUnavailable(
            f"{path} is not the published file: its sha256 is {sha256}, expected {expected_sha256}. "
            "Delete it and fetch it again."
        )
    return CheckedFile(path, data, sha256, next((known.space for known in KNOWN if known.sha256 == sha256), None))
