"""How many bytes of parameters each adapter of a bundle will keep on the device: told by the headers of its files.

Imports no diffusers or transformers, so that `doctor` answers at once. `models.bundle.memory` measures what is loaded.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from models.weights.manifest import BundleSpec

Sizes = dict[str, int]  # numbers in each tensor of a file


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is shared other adapters use too, or would: text encoders, VAE, a UNet without an adapter's own LoRA."""

    own_bytes: int
    shared_bytes: int


def expected_footprints(spec: BundleSpec, root: Path, bytes_per_parameter: int) -> dict[str, Footprint]:
    """By adapter. Raises OSError, ValueError or, for a pickle, what torch raises."""
    headers = _Headers(root)
    unet = headers.folder(spec.unet)
    vaes = [part for part in (spec.vae, spec.preview_vae) if part]
    common = sum(headers.folder(part) for part in (spec.text_encoder, spec.text_encoder_2, *vaes))
    footprints: dict[str, Footprint] = {}
    for adapter in spec.adapters:
        needs = adapter.parameters(headers)
        own, shared = (needs.count + unet, common) if needs.owns_unet else (needs.count, common + unet)
        footprints[adapter.name] = Footprint(own * bytes_per_parameter, shared * bytes_per_parameter)
    return footprints


@dataclass(frozen=True, slots=True)
class _Headers:
    """Of the files below a weights folder."""

    root: Path

    def checkpoint(self, path: str) -> Sizes:
        return tensor_sizes(self.root / path)

    def folder(self, path: str) -> int:
        """Position ids are in old files, but count for nothing: they are numbers of places."""
        sizes = [tensor_sizes(file) for file in (self.root / path).glob("*.safetensors")]
        return sum(size for one in sizes for key, size in one.items() if not key.endswith("position_ids"))


def tensor_sizes(path: Path) -> Sizes:
    """Read off a file's header; of a pickle, which has none, off tensors without storage. Nested parts are prefixes."""
    if path.suffix != ".safetensors":
        import torch  # seconds, and needed for pickles alone

        nested = torch.load(path, map_location="meta", weights_only=True, mmap=True)
        flat = {f"{part}.{key}": tensor for part, inner in nested.items() for key, tensor in inner.items()}
        return {key: tensor.numel() for key, tensor in flat.items()}
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return {key: prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__"}
