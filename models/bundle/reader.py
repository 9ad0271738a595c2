"""One bundle's verified files as tensors, configurations and modules."""

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor
from transformers import CLIPTokenizer

from models.bundle.modules import Place, build_control_net, meta_unet
from models.bundle.streaming import read_tensors
from models.bundle.tuning import Tuner
from models.engine.finite import NOT_FINITE, first_not_finite
from models.sdxl.control import ControlNet
from models.weights.checkpoints import read_checkpoint
from models.weights.errors import WeightsError
from models.weights.manifest import BundleSpec
from models.wire.bundle_info import FileInfo

LONGEST = 400  # characters of a library's error: torch lists every key of a file that doesn't fit


class UnfitFile(WeightsError):
    """The message begins with the file's name: it is of another kind or version than its place asks for."""


@contextmanager
def about(*paths: str) -> Iterator[None]:
    """Name the files that an error is about, unless it does that itself."""
    try:
        yield
    except UnfitFile:
        raise
    except (KeyError, OSError, RuntimeError, ValueError, SafetensorError) as error:
        text = str(error)
        shown = f"{text[:LONGEST]}{' ...' if len(text) > LONGEST else ''}"
        raise UnfitFile(f"{' and '.join(paths)}: {shown}") from error


def _finite(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As they are. Raises ValueError naming the first that holds a NaN or an infinity."""
    if (name := first_not_finite(tensors)) is not None:
        raise ValueError(f"{name} {NOT_FINITE}: get the file anew, or one that was trained with success")
    return tensors


class BundleReader:
    """Lives for one load. Paths are those of the manifest; only files that were verified are read."""

    def __init__(self, spec: BundleSpec, root: Path, files: Sequence[FileInfo], place: Place, tuner: Tuner) -> None:
        self.place = place
        self._spec = spec
        self._root = root
        self._digests = {file.id: file.sha256 for file in files}
        self._tuner = tuner
        self.outline = meta_unet(self.config(spec.unet))  # names and shapes: other files are checked against them

    def config(self, folder: str, name: str = "config.json") -> dict[str, Any]:
        with about(f"{folder}/{name}"):
            return json.loads((self._root / folder / name).read_text())

    def companion(self, path: str) -> dict[str, Any] | None:
        """A JSON file that a bundle may have or not."""
        if path not in self._digests:
            return None
        with about(path):
            return json.loads((self._root / path).read_text())

    def state(self, folder: str) -> dict[str, Tensor]:
        """The tensors of a component folder: its one safetensors file, whatever the variant is called."""
        found = [name for name in self._digests if name.startswith(f"{folder}/") and name.endswith(".safetensors")]
        if len(found) != 1:
            raise WeightsError(
                f"the manifest lists {len(found)} .safetensors files under {folder}; exactly one is needed"
            )
        with about(found[0]):
            return _finite(read_tensors(self._root / found[0], self.place.device))

    def checkpoint(self, path: str) -> dict[str, Tensor]:
        tensors = read_checkpoint(self._root, path, self._digests[path])
        with about(path):
            return _finite(tensors)

    def tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        """Fresh ones on every call: adapters teach theirs a trigger word."""
        folders = (self._root / self._spec.tokenizer, self._root / self._spec.tokenizer_2)
        first, second = (CLIPTokenizer.from_pretrained(folder, local_files_only=True) for folder in folders)
        return first, second

    def control_net(self, folder: str) -> ControlNet:
        with about(folder):
            built = build_control_net(self.config(folder), self.state(folder), self.place)
            net = ControlNet(built, make_runner=self._tuner.steps)
            self._tuner.optimise(built)
        return net

    def about(self, path: str) -> AbstractContextManager[None]:
        return about(path)
