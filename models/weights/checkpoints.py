"""Tensors of a published checkpoint: safetensors, or a pickle that is converted to safetensors once."""

import logging
import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.weights.errors import WeightsError
from models.weights.integrity import sha256_of
from models.weights.lock import Conversion, Lock

log = logging.getLogger(__name__)


def read_checkpoint(root: Path, name: str, digest: str) -> dict[str, Tensor]:
    """Flat tensors of a verified file: parts of a nested one become prefixes.

    `digest` is the file's own sha256. A conversion is trusted only while both hashes are those noted when it was made.
    """
    path = root / name
    if path.suffix == ".safetensors":
        return load_file(path)
    with Lock(root) as lock:
        if not is_converted(root, name, digest, lock):
            state = unpickle(path)
            if os.access(path.parent, os.W_OK):
                _convert(state, root, name, digest, lock)
            return state
    return load_file(path.with_suffix(".safetensors"))


def convert(root: Path, name: str, digest: str, lock: Lock) -> bool:
    """Whether there was anything to do. Raises WeightsError for a pickle that holds more than tensors."""
    if is_converted(root, name, digest, lock):
        return False
    _convert(unpickle(root / name), root, name, digest, lock)
    return True


def is_converted(root: Path, name: str, digest: str, lock: Lock) -> bool:
    converted = _converted_name(name)
    noted = lock.conversions.get(converted)
    if noted is None or noted.pickle != digest or not (root / converted).is_file():
        return False
    return sha256_of(root / converted) == noted.safetensors


def unpickle(path: Path) -> dict[str, Tensor]:
    """Read without running anything in it; `{part: {key: tensor}}` becomes `part.key`."""
    try:
        nested = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # torch's own text advises the caller to load it anyway.
        raise WeightsError(f"{path} is a pickle that asks to run code; nothing of it was loaded") from None
    except (RuntimeError, OSError, EOFError) as error:
        raise WeightsError(f"{path} is no checkpoint that torch can read, or half of one: {error}") from error
    state: dict[str, Tensor] = {}
    for part, inner in nested.items():
        state |= (
            {f"{part}.{key}": tensor for key, tensor in inner.items()} if isinstance(inner, Mapping) else {part: inner}
        )
    if odd := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise WeightsError(f"{path} holds {odd[0]!r}, which is no tensor: it is not a published checkpoint")
    return {key: tensor.contiguous() for key, tensor in state.items()}


def _convert(state: dict[str, Tensor], root: Path, name: str, digest: str, lock: Lock) -> None:
    target = root / _converted_name(name)
    partial = target.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(target)
    lock.conversions[_converted_name(name)] = Conversion(digest, sha256_of(target))
    log.info("converted %s to safetensors", name)


def _converted_name(name: str) -> str:
    return str(Path(name).with_suffix(".safetensors"))
