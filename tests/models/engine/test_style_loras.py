"""Rows with and without style LoRAs in one engine, on a bundle from disk: each runs on weights of its own choice."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundle.bundle import load_bundle
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.sdxl.lora_choice import LoraChoice
from models.weights.errors import WeightsError
from models.weights.manifest import read_manifest
from scripts.golden.photomaker import PhotoMakerFolder, face_of, picture_of
from tests.models.adapters.test_applied_lora import style_lora
from tests.models.conftest import GOLDEN, MANIFEST, manifest_files
from tests.models.engine.test_invariance import LatentDecoder
from tests.models.scenes import scene_of

STYLES = """
style_loras = [
    { name = "film", path = "styles/film.safetensors", scale = 0.8 },
    { name = "ink", path = "styles/ink.safetensors" },
]
"""


@pytest.fixture
def folder(weights_dir):
    (weights_dir / "styles").mkdir()
    for seed, name in enumerate(("film", "ink")):
        save_file(style_lora(seed), weights_dir / "styles" / f"{name}.safetensors")
    (weights_dir / "manifest.toml").write_text(MANIFEST + STYLES + manifest_files(weights_dir))
    return weights_dir


@pytest.fixture
def bundle(folder):
    return load(folder)


def load(folder):
    return load_bundle(read_manifest(folder / "manifest.toml"), "golden", weights_dir=folder)


def make_row(bundle, lora, *, seed=1, steps=3):
    stack = bundle.stacks["photomaker"]
    picture = picture_of(PhotoMakerFolder(GOLDEN).tensors("pipeline_v1_cfg5_merge0_3img_2out")["in.image.0"])
    scene = scene_of(
        prompt="portrait photo of a man",
        negative_prompt=None,
        subject="man",
        width=64,
        height=64,
        steps=steps,
        strength=1.0,
        guidance=1.0,
        lora=lora,
    )
    plan = make_plan("euler", steps, bundle.process)
    return Row(
        job_id=f"{lora}",
        index=0,
        seed=seed,
        key=BatchKey("golden", "photomaker", 64, 64, False, lora),
        plan=plan,
        conditioning=stack.adapter.condition(stack.adapter.identity([picture], [face_of(None)]), scene),
        guidance=1.0,
        deadline=math.inf,
        latent=initial_latent(seed, plan, (4, 8, 8), bundle.device),
    )


def run(bundle, rows):
    engine = Engine(bundle.stacks["photomaker"].denoiser, LatentDecoder(), buckets=(1, 2, 4))
    for row in rows:
        engine.add(row)
    while engine.has_work:
        assert len({row.key.variant for row in engine.tick().stepped}) == 1
    return [row.latent for row in rows]


FILM, FAINT, INK = LoraChoice("film", 0.8), LoraChoice("film", 0.2), LoraChoice("ink", 1.0)


def test_rows_of_several_loras_interleave_and_each_is_as_it_would_be_alone(bundle):
    choices = [FILM, None, INK, FAINT]
    together = run(bundle, [make_row(bundle, lora) for lora in choices])
    alone = [run(bundle, [make_row(bundle, lora)])[0] for lora in reversed(choices)][::-1]
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))
    for place, latent in enumerate(together):
        assert all((latent - other).abs().max() > 1e-3 for other in together[:place])


def test_a_row_with_a_lora_equals_that_row_on_a_bundle_with_the_lora_fused(bundle, folder):
    """The text encoders' part too: the fused bundle is loaded from weights that hold it already."""
    [applied] = run(bundle, [make_row(bundle, FILM)])
    for part in ("unet", "text_encoder"):
        [path] = (folder / "base" / part).glob("*.safetensors")
        save_file(fused(load_file(path), load_file(folder / "styles" / "film.safetensors"), part, 0.8), path)
    (folder / "manifest.toml").write_text(MANIFEST + manifest_files(folder))
    (folder / "manifest.lock").unlink(missing_ok=True)
    [expected] = run(fresh := load(folder), [make_row(fresh, None)])
    assert (applied - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_lora_that_every_row_wears_is_fused_at_load_into_unet_and_text_encoders(bundle, folder):
    [applied] = run(bundle, [make_row(bundle, FILM)])
    distillation = MANIFEST.replace("loras = [", 'loras = [{ path = "styles/film.safetensors", scale = 0.8 }, ')
    (folder / "manifest.toml").write_text(distillation + manifest_files(folder))
    [always] = run(fresh := load(folder), [make_row(fresh, None)])
    assert (applied - always).abs().max() <= 1e-5 * always.abs().max()


def fused(weights, lora, part, scale):
    """By hand: W + scale * alpha / rank * up @ down."""
    stem = {"unet": "lora_unet_", "text_encoder": "lora_te1_"}[part]
    for key, weight in weights.items():
        name = stem + key.removesuffix(".weight").replace(".", "_")
        if f"{name}.lora_down.weight" in lora:
            down, up = (lora[f"{name}.lora_{half}.weight"] for half in ("down", "up"))
            alpha = float(lora.get(f"{name}.alpha", torch.tensor(float(len(down)))))
            product = (up.flatten(1) @ down.flatten(1)).view_as(weight)
            weights[key] = weight + scale * alpha / len(down) * product
    return weights


def test_the_bundle_says_which_loras_there_are_and_their_terms(bundle):
    assert [(one.name, one.scale, one.licence, one.commercial) for one in bundle.info.loras] == [
        ("film", 0.8, "CC0-1.0", "yes"),
        ("ink", 1.0, "CC0-1.0", "yes"),
    ]


def test_a_style_lora_that_does_not_fit_stops_the_start_and_is_named(folder):
    save_file({"lora_unet_nowhere.lora_down.weight": torch.zeros(1, 1)}, folder / "styles" / "ink.safetensors")
    (folder / "manifest.toml").write_text(MANIFEST + STYLES + manifest_files(folder))
    with pytest.raises(WeightsError, match=r"LoRA 'ink' \(ink\.safetensors\): .*lora_unet_nowhere"):
        load(folder)
