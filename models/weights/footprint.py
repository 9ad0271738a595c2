"""How many bytes of parameters each adapter of a bundle will keep on the device: told by the headers of its files.

Imports no diffusers or transformers, so that `doctor` answers at once. `models.bundle.memory` measures what is loaded.
"""

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

from models.weights.manifest import BundleSpec

Sizes = dict[str, int]  # numbers in each tensor of a file

PHOTOMAKER_ENCODER = "id_encoder."
PHOTOMAKER_V2 = "id_encoder.qformer_perceiver."
PHOTOMAKER_LORA = "lora_weights."


@dataclass(frozen=True, slots=True)
class Footprint:
    """What is shared other adapters use too, or would: text encoders, VAE, a UNet without an adapter's own LoRA."""

    own_bytes: int
    shared_bytes: int


def expected_footprints(spec: BundleSpec, root: Path, bytes_per_parameter: int) -> dict[str, Footprint]:
    """By adapter. Raises OSError, ValueError or, for a pickle, what torch raises."""
    unet = _folder_size(root / spec.unet)
    vaes = [part for part in (spec.vae, spec.preview_vae) if part]
    common = sum(_folder_size(root / part) for part in (spec.text_encoder, spec.text_encoder_2, *vaes))
    counts: dict[str, tuple[int, int]] = {}
    for path in spec.photomaker:
        sizes = tensor_sizes(root / path)
        encoder = sum(size for key, size in sizes.items() if key.startswith(PHOTOMAKER_ENCODER))
        name = "photomaker-v2" if any(key.startswith(PHOTOMAKER_V2) for key in sizes) else "photomaker"
        has_lora = any(key.startswith(PHOTOMAKER_LORA) for key in sizes)
        counts[name] = (encoder + unet, common) if has_lora else (encoder, common + unet)
    for name, path, network in (
        ("instantid", spec.instantid, spec.identity_net),
        ("ip-adapter", spec.ip_adapter, spec.image_encoder),
    ):
        if path is not None:
            beside = _folder_size(root / network) if network else 0
            counts[name] = (sum(tensor_sizes(root / path).values()) + beside, common + unet)
    return {
        name: Footprint(own * bytes_per_parameter, shared * bytes_per_parameter)
        for name, (own, shared) in counts.items()
    }


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


def _folder_size(folder: Path) -> int:
    """Position ids are in old files, but count for nothing: they are numbers of places."""
    sizes = [tensor_sizes(path) for path in folder.glob("*.safetensors")]
    return sum(size for one in sizes for key, size in one.items() if not key.endswith("position_ids"))
