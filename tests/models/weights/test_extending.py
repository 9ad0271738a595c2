"""Manifests that say only what they add to ours, copies of ours, and what stops a start at once."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundle.bundle import load_bundle
from models.weights.errors import MissingFile, WeightsError
from models.weights.lock import LOCK_NAME
from models.weights.manifest import DEFAULT_MANIFEST, PACKAGE, read_manifest
from models.weights.starting import check_start

README = Path(__file__).resolve().parents[3] / "models" / "README.md"
SNIPPET = re.search(r"```toml\n(extends.*?)```", README.read_text(), re.S)[1]
LORA = "styles/film.safetensors"


def written(folder, text):
    path = folder / "manifest.toml"
    path.write_text(text)
    return path


@pytest.fixture
def lora(tmp_path):
    """For the embedded bundle's UNet, where the snippet says."""
    path = tmp_path / LORA
    path.parent.mkdir()
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    state = next((PACKAGE / "tiny" / "unet").glob("*.safetensors"))
    out, width = load_file(state)[f"{name}.weight"].shape
    save_file(
        {f"unet.{name}.lora_A.weight": torch.ones(2, width), f"unet.{name}.lora_B.weight": torch.ones(out, 2)}, path
    )
    return path


def test_a_copy_of_our_manifest_works_in_another_folder(tmp_path):
    shutil.copy(DEFAULT_MANIFEST, tmp_path / "manifest.toml")
    copy, ours = read_manifest(tmp_path / "manifest.toml"), read_manifest()
    assert copy.bundles == ours.bundles
    assert [file.path for file in copy.files] == [file.path for file in ours.files]
    check_start("tiny", manifest_path=tmp_path / "manifest.toml")


def test_the_readme_s_snippet_adds_a_lora_to_a_bundle_of_ours(tmp_path):
    manifest = read_manifest(written(tmp_path, SNIPPET))
    ours = read_manifest()
    assert [lora.path for lora in manifest.bundle("commercial").style_loras] == [LORA]
    assert manifest.bundle("commercial").unet == ours.bundle("commercial").unet
    assert manifest.bundle("tiny") == ours.bundle("tiny")
    paths, our_paths = ({file.path for file in one.profile("commercial")} for one in (manifest, ours))
    assert paths - our_paths == {LORA}


def test_the_readme_s_snippet_serves_a_lora_beside_it_on_the_embedded_bundle(tmp_path, lora):
    path = written(tmp_path, SNIPPET.replace("commercial]", "tiny]"))
    check_start("tiny", manifest_path=path)
    bundle = load_bundle(read_manifest(path), "tiny")
    assert [(one.name, one.scale, one.licence) for one in bundle.info.loras] == [("film", 0.8, "CC0-1.0")]
    assert bundle.style_loras.take("film")
    assert (tmp_path / LOCK_NAME).is_file()  # what it was is noted beside it, and not in the package
    assert not (PACKAGE / LOCK_NAME).exists()


def test_a_lora_that_is_not_beside_the_manifest_is_looked_for_there(tmp_path):
    path = written(tmp_path, SNIPPET.replace("commercial]", "tiny]"))
    with pytest.raises(MissingFile, match=re.escape(f"{tmp_path / LORA} is missing; get it from our own")):
        check_start("tiny", manifest_path=path)


def test_a_bundle_of_one_s_own_is_another_with_another_checkpoint(tmp_path):
    text = """
extends = "builtin"
[bundles.mine]
extends = "commercial"
title = "Ours"
unet = "Mine/unet"
[bundles.mine-square]
extends = "mine"
sizes = [[1024, 1024]]
final = { sizes = [[1536, 1536]], steps = 8, refining = 3 }
"""
    for name in ("config.json", "model.safetensors"):
        text += f'[[files]]\npath = "Mine/unet/{name}"\nlicence = "MIT"\ncommercial = "yes"\norigin = "us"\n'
    manifest = read_manifest(written(tmp_path, text))
    mine, square, ours = (manifest.bundle(name) for name in ("mine", "mine-square", "commercial"))
    assert (mine.title, mine.unet, mine.vae, mine.adapters) == ("Ours", "Mine/unet", ours.vae, ours.adapters)
    assert (square.unet, square.sizes) == ("Mine/unet", ((1024, 1024),))
    assert "RealVisXL_V5.0/unet" not in {str(Path(file.path).parent) for file in manifest.profile("mine")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('extends = "ours"', r"extends = 'ours': wanted extends = \"builtin\""),
        ("extends = 3", "extends = 3: wanted"),
        (
            'extends = "builtin"\n[bundles.a]\nextends = "nope"',
            r"extends 'nope'; before it there are commercial, .*tiny",
        ),
        ('[bundles.a]\nextends = "tiny"', r'before it there are none: write extends = "builtin"'),
        ('extends = "builtin"\n[bundles.a]\ntitle = "A"', "bundle 'a' lists no adapters"),
        ('extends = "builtin"\n[bundles.tiny]\nstep = 3', "unknown field `step`"),
        ('extends = "builtin"\n[bundles.a]\nextends = ["tiny"]', r"extends \['tiny'\]; before it"),
        ('extends = "builtin"\nbundles = 3', "bundles"),
        ('extends = "builtin"\ninclude = 3', "include"),
    ],
)
def test_what_extends_nothing_is_refused_with_what_there_is(tmp_path, text, why):
    with pytest.raises(WeightsError, match=why):
        read_manifest(written(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("nope", {}, "bundle 'nope' is not in the manifest; it has commercial"),
        ("commercial", {}, "needs a weights folder.*`proofsheet fetch commercial --weights-dir DIR`"),
        ("research", {}, "may not be used commercially"),
        ("commercial", {"weights_dir": Path("/nowhere")}, r"/nowhere/RealVis.*18 more .*`proofsheet fetch commercial`"),
        ("commercial-ip", {"weights_dir": Path("/nowhere")}, "`proofsheet fetch commercial-ip`"),
        (
            "research",
            {"weights_dir": Path("/nowhere"), "accept_noncommercial": True},
            "RealVis.*`proofsheet fetch research`",
        ),
        ("tiny", {"manifest_path": Path("/nowhere.toml")}, r"/nowhere\.toml"),
    ],
)
def test_what_would_stop_a_worker_is_said_in_a_sentence_before_one_starts(name, options, why):
    with pytest.raises(WeightsError, match=why) as refusal:
        check_start(name, **options)
    assert "\n" not in str(refusal.value)


def test_the_embedded_bundle_starts():
    check_start("tiny")
