"""What torch.compile made, kept in a file between starts: a second start compiles nothing.

The file holds programs, and whoever can write it can run code in the worker: it is read only if the folder's owner is
ours and nobody else may write there. It is good for one torch, one device and one way to compile, all told by its name;
its bytes carry their own hash. Whatever is wrong with it, the worker starts all the same, only slower.
"""

import hashlib
import logging
import os
import stat
from pathlib import Path

import torch

from models.sdxl.speed import Speed

log = logging.getLogger(__name__)

MAGIC = b"proofsheet compile cache 1\n"
_DIGEST_BYTES = hashlib.sha256().digest_size


class CompileCache:
    """One file in `folder`. `load` before the first compiled call, `save` after the warm-up."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"compiled-{key}.bin"
        self._loaded = b""

    def load(self) -> bool:
        """Whether there was something to go on with."""
        try:
            payload = self._read()
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            log.warning("the compile cache is ignored: %s", error)
            return False
        if torch.compiler.load_cache_artifacts(payload) is None:
            log.warning("the compile cache is ignored: torch can't use it")
            return False
        self._loaded = payload
        return True

    def save(self) -> bool:
        """Whether a file was written: nothing new, or a folder that can't be written, is no fault."""
        artifacts = torch.compiler.save_cache_artifacts()
        if artifacts is None or artifacts[0] == self._loaded:
            return False
        payload = artifacts[0]
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_bytes(MAGIC + hashlib.sha256(payload).digest() + payload)
            partial.replace(self._path)
        except OSError as error:
            log.warning("the compile cache was not saved: %s", error)
            return False
        log.info("%d bytes of compiled code saved for the next start", len(payload))
        return True

    def _read(self) -> bytes:
        """Raises OSError or ValueError, which say what is wrong."""
        data = self._path.read_bytes()
        folder = self._path.parent.stat()
        if folder.st_uid != os.getuid() or folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ValueError(f"{self._path.parent} may be written by others than this user")
        start = len(MAGIC) + _DIGEST_BYTES
        if not data.startswith(MAGIC) or hashlib.sha256(data[start:]).digest() != data[len(MAGIC) : start]:
            raise ValueError(f"{self._path} is damaged or of another version")
        return data[start:]


def key_of(speed: Speed, device: torch.device) -> str:
    """Short, and another for whatever compiled code depends on."""
    on_gpu = device.type == "cuda"
    parts = [
        torch.__version__,
        str(torch.version.cuda),
        f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)}" if on_gpu else "cpu",
        speed.compile,
        str(speed.fp8),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()
