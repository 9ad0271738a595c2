"""What one more adapter costs: its spec and its loading, shown by one that is made here and draws a portrait.

A real one would be a folder of `models/adapters`, a name in its registry and an entry of the manifest.
"""

import dataclasses
import time
import tomllib

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.adapters.adapter import Identity, TokenShape
from models.adapters.loading import LoadedAdapter
from models.adapters.registry import RegisteredSpec
from models.adapters.spec import CheckpointSpec, Parameters
from models.adapters.text_prompt import check_prompts, text_conditioning
from models.bundle.bundle import load_bundle
from models.engine.engine import Engine
from models.faces.analyzers import load_analyzer
from models.sdxl.conditioning import Prompt
from models.weights.errors import WeightsError
from models.weights.footprint import expected_footprints
from models.weights.manifest import PACKAGE, WeightFile, read_manifest
from models.worker.job import WorkerJob
from models.worker.preparation import Preparer
from tests.models.running import portrait_order

PATH = "tint/tint.safetensors"
ENTRY = tomllib.loads(f'adapter = {{ type = "tint", path = "{PATH}" }}')["adapter"]
FLOAT32_BYTES = 4


class TintSpec(CheckpointSpec, frozen=True, kw_only=True, tag="tint"):
    def parameters(self, headers):
        return Parameters(sum(headers.checkpoint(self.path).values()))

    def load(self, reader, text):
        projection = nn.Linear(3, 64, bias=False).requires_grad_(False)
        projection.load_state_dict(reader.checkpoint(self.path))
        return LoadedAdapter(Tint(projection.to(text.device, text.dtype), text))


class Tint:
    """A person is their photos' mean colour, which is added to every token of the prompt."""

    name = "tint"
    face_space = None
    takes_pose = False
    spoiled_sizes = frozenset()

    def __init__(self, projection, text):
        self._projection = projection
        self._text = text

    def modules(self):
        return [self._projection]

    @property
    def tokens(self):
        weight = self._projection.weight
        return TokenShape(1, len(weight), weight.dtype, weight.device)

    def identity(self, selfies, faces):
        colours = [np.frombuffer(selfie.pixels, np.uint8).reshape(-1, 3).mean(axis=0) / 255 for selfie in selfies]
        return Identity(self._projection(torch.tensor(np.array(colours)).float()))

    def check_scene(self, scene, num_selfies):
        check_prompts(self._text, scene)

    def condition(self, identity, scene):
        plain = text_conditioning(self._text, scene)
        embeds = plain.personal.embeds + scene.sampling.strength * identity.tokens.mean(dim=0)
        return dataclasses.replace(plain, personal=Prompt(embeds, plain.personal.pooled))


@pytest.fixture
def manifest(weights_dir):
    """Of the golden bundle, which has one adapter more."""
    (weights_dir / PATH).parent.mkdir()
    save_file({"weight": torch.randn(64, 3, generator=torch.Generator().manual_seed(1))}, weights_dir / PATH)
    manifest = read_manifest(weights_dir / "manifest.toml")
    spec = manifest.bundle("golden")
    adapters = [*spec.adapters, msgspec.convert(ENTRY, RegisteredSpec | TintSpec)]
    file = WeightFile(path=PATH, licence="CC0-1.0", commercial="yes", origin="made by a test")
    return msgspec.structs.replace(
        manifest,
        bundles={"golden": msgspec.structs.replace(spec, adapters=adapters)},
        files=[*manifest.files, file],
    )


def test_its_files_are_fetched_verified_and_told_of(manifest, weights_dir):
    assert PATH in {file.path for file in manifest.profile("golden")}
    assert manifest.fetchable == {"photomaker": "golden", "tint": "golden"}
    info = load_bundle(manifest, "golden", weights_dir=weights_dir).info
    assert PATH in {file.id for file in info.files}
    assert [(adapter.name, adapter.takes_pose) for adapter in info.adapters] == [("photomaker", False), ("tint", False)]


def test_its_memory_is_foretold_and_measured(manifest, weights_dir):
    foretold = expected_footprints(manifest.bundle("golden"), weights_dir, FLOAT32_BYTES)
    loaded = load_bundle(manifest, "golden", weights_dir=weights_dir).info.adapters
    told = {one.name: (one.own_bytes, one.shared_bytes) for one in loaded}
    assert told == {name: (size.own_bytes, size.shared_bytes) for name, size in foretold.items()}
    assert told["tint"][0] == 3 * 64 * FLOAT32_BYTES


def test_a_file_that_does_not_fit_is_told_by_its_name(manifest, weights_dir):
    save_file({"other": torch.zeros(64, 3)}, weights_dir / PATH)
    with pytest.raises(WeightsError, match=rf'(?s)^{PATH}: .*Missing key\(s\) in state_dict: "weight"'):
        load_bundle(manifest, "golden", weights_dir=weights_dir)


def test_it_draws_portraits_on_the_unet_that_adapters_share(manifest, weights_dir, astronaut):
    bundle = load_bundle(manifest, "golden", weights_dir=weights_dir)
    assert {name: stack.denoiser.name for name, stack in bundle.stacks.items()} == {
        "photomaker": "photomaker",  # whose LoRA the others must not have
        "tint": "plain",
    }
    analyzer = load_analyzer("bundled", bundled_dir=PACKAGE / "tiny", faces_dir=None, device="cpu", threads=1)
    preparer = Preparer(bundle, analyzer)
    engine = Engine(bundle.stacks["tint"].denoiser, bundle.decoder, buckets=(2,))
    for job_id, strength in (("nobody", 0.0), ("astronaut", 1.0)):
        job = WorkerJob.accept(portrait_order(astronaut, job_id, adapter="tint", strength=strength), time.monotonic())
        [row] = preparer.prepare(job).rows
        engine.add(row)
    portraits = {}
    while engine.has_work:
        portraits |= {finished.row.job_id: finished.pixels for finished in engine.tick().finished}
    assert portraits["astronaut"].shape == (64, 64, 3)
    assert not torch.equal(portraits["astronaut"], portraits["nobody"])
