"""What each adapter keeps in memory, told of loaded modules and foretold from files."""

import pytest
import torch

from models.bundle.bundle import load_bundle
from models.weights.footprint import expected_footprints, tensor_sizes
from models.weights.manifest import PACKAGE, read_manifest
from tests.models.conftest import GOLDEN

FLOAT32_BYTES = 4


@pytest.mark.parametrize("name", ["embedded", "published layout"])
def test_the_files_foretell_what_the_loaded_adapters_keep(name, weights_dir):
    manifest, bundle, root = (
        (read_manifest(), "tiny", PACKAGE)
        if name == "embedded"
        else (read_manifest(weights_dir / "manifest.toml"), "golden", weights_dir)
    )
    foretold = expected_footprints(manifest.bundle(bundle), root, FLOAT32_BYTES)
    loaded = load_bundle(manifest, bundle, weights_dir=weights_dir).info.adapters
    told = {one.name: (one.own_bytes, one.shared_bytes) for one in loaded}
    assert told == {name: (size.own_bytes, size.shared_bytes) for name, size in foretold.items()}


def test_an_adapter_with_a_lora_of_its_own_owns_its_unet(weights_dir):
    manifest = read_manifest(weights_dir / "manifest.toml")
    spec = manifest.bundle("golden")
    sizes = expected_footprints(spec, weights_dir, FLOAT32_BYTES)["photomaker"]
    unet = sum(tensor_sizes(weights_dir / spec.unet / "diffusion_pytorch_model.fp16.safetensors").values())
    assert sizes.own_bytes > FLOAT32_BYTES * unet


def test_a_pickle_is_measured_without_its_numbers_being_read():
    sizes = tensor_sizes(GOLDEN / "photomaker-v1.bin")
    nested = torch.load(GOLDEN / "photomaker-v1.bin", weights_only=True)
    assert sizes == {f"{part}.{key}": t.numel() for part, inner in nested.items() for key, t in inner.items()}
