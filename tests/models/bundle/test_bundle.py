"""Loading from local files in the published layout: verified, converted once, fused, and never a byte unchecked."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.adapters.lora import fuse_loras, read_lora
from models.adapters.lora_names import ModuleNames
from models.bundle.bundle import load_bundle
from models.bundle.modules import EXACT, Place, build_unet
from models.weights.checkpoints import unpickle
from models.weights.errors import WeightsError
from models.weights.manifest import read_manifest
from tests.models.conftest import MANIFEST, manifest_files


def load(weights_dir: Path, **options):
    return load_bundle(read_manifest(weights_dir / "manifest.toml"), "golden", weights_dir=weights_dir, **options)


def test_a_bundle_in_the_published_layout_loads_and_tells_what_it_is(weights_dir):
    bundle = load(weights_dir)
    assert list(bundle.stacks) == ["photomaker"]
    assert bundle.info.default_size == (64, 64)
    assert bundle.decoder.factor == 8
    assert all(len(file.sha256) == 64 for file in bundle.info.files)
    assert {file.id for file in bundle.info.files} >= {"photomaker/photomaker-v1.bin", "distillation/lora.safetensors"}


def test_other_bytes_in_any_file_are_another_revision(weights_dir):
    first, again = load(weights_dir).info.revision, load(weights_dir).info.revision
    assert len(first) == 32
    assert first == again
    config = weights_dir / "base" / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    (weights_dir / "manifest.toml").write_text(MANIFEST + manifest_files(weights_dir))
    (weights_dir / "manifest.lock").unlink(missing_ok=True)
    assert load(weights_dir).info.revision != first


def test_a_bundle_tells_how_it_makes_finals(weights_dir):
    finals = load(weights_dir).info.finals
    assert (finals.sizes, finals.steps, finals.refined_in_size) == ([(128, 128), (192, 128)], 3, True)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("sizes = [[128, 192]], steps = 8, refining = 3", "128x192 is no enlargement"),
        ("sizes = [[64, 64]], steps = 8, refining = 3", "64x64 is no enlargement"),
        ("sizes = [[128, 128]], steps = 8, refining = 9", "refining 9 of 8 steps"),
        ("sizes = [[128, 128]], steps = 99, refining = 3", "at most 50"),
        ("sizes = [[128, 128]], steps = 8, refining = 3, enlarge = 'twice'", "enlarge"),
    ],
)
def test_a_final_that_can_not_be_made_is_refused_at_the_start(weights_dir, wrong, why):
    path = weights_dir / "manifest.toml"
    path.write_text(re.sub(r"(?m)^final = .*$", f"final = {{ {wrong} }}", path.read_text()))
    with pytest.raises(WeightsError, match=why):
        read_manifest(path)


def test_both_loras_are_fused_into_plain_weights(weights_dir, golden):
    bundle = load(weights_dir)
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    base = load_file(golden / "unet.safetensors")[name]
    maker = load_file(golden / "photomaker_v1.safetensors")
    stem = "lora_weights.unet." + name.removesuffix("to_k.weight") + "processor.to_k_lora"
    kohya = load_file(weights_dir / "distillation" / "lora.safetensors")
    key = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
    expected = base + maker[f"{stem}.up.weight"] @ maker[f"{stem}.down.weight"]
    expected = expected + 0.5 * kohya[f"{key}.lora_up.weight"] @ kohya[f"{key}.lora_down.weight"]  # alpha 1, rank 2
    [unet] = bundle.stacks["photomaker"].denoiser.modules()
    fused = unet.state_dict()[name]
    torch.testing.assert_close(fused, expected, rtol=1e-5, atol=1e-6)


def test_no_module_keeps_a_tensor_without_storage(weights_dir):
    bundle = load(weights_dir)
    stack = bundle.stacks["photomaker"]
    modules = [*stack.denoiser.modules(), *bundle.decoder.modules(), *stack.adapter.modules()]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    assert tensors
    assert not any(t.is_meta for t in tensors)


def test_the_pickle_is_converted_once_and_the_conversion_is_trusted_only_by_its_hash(weights_dir):
    load(weights_dir)
    converted = weights_dir / "photomaker" / "photomaker-v1.safetensors"
    first = converted.read_bytes()
    stamp = converted.stat().st_mtime_ns
    load(weights_dir)
    assert converted.stat().st_mtime_ns == stamp
    converted.write_bytes(first[:-4] + b"\0\0\0\0")
    load(weights_dir)
    assert converted.read_bytes() == first


def test_a_pickle_that_runs_code_is_refused_and_its_code_does_not_run(weights_dir, tmp_path):
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return Path.touch, (marker,)

    path = weights_dir / "photomaker" / "photomaker-v1.bin"
    path.write_bytes(pickle.dumps({"id_encoder": Trap()}, protocol=2))
    text = (weights_dir / "manifest.toml").read_text()
    sizes = "\n".join(line for line in text.splitlines() if not line.startswith("size = ") or "[" in line)
    (weights_dir / "manifest.toml").write_text(sizes)
    with pytest.raises(WeightsError, match=r"photomaker-v1\.bin"):
        load(weights_dir)
    assert not marker.exists()


def test_a_half_written_checkpoint_is_refused_even_where_no_hash_is_known(golden, tmp_path):
    whole = (golden / "photomaker-v1.bin").read_bytes()
    for length in (5000, len(whole) - 100):
        path = tmp_path / "photomaker-v1.bin"
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"v1\.bin is no checkpoint that torch can read, or half of one"):
            unpickle(path)


def test_an_altered_file_is_refused_by_name_before_anything_reads_it(weights_dir):
    load(weights_dir)  # the first use locks the hashes
    path = weights_dir / "base" / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"unet/diffusion_pytorch_model\.fp16\.safetensors has sha256 .* altered"):
        load(weights_dir)


def test_a_cut_file_is_refused_with_both_sizes(weights_dir):
    path = weights_dir / "base" / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"has {size - 100} bytes, the manifest says {size}"):
        load(weights_dir)


def test_a_missing_file_is_named_with_where_to_get_it(weights_dir):
    (weights_dir / "base" / "unet" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"unet/config\.json is missing; get it from made by a test"):
        load(weights_dir)


def test_an_unknown_bundle_is_refused_with_the_known_ones(weights_dir):
    manifest = read_manifest(weights_dir / "manifest.toml")
    with pytest.raises(WeightsError, match="'nope' is not in the manifest; it has golden"):
        load_bundle(manifest, "nope", weights_dir=weights_dir)


def test_a_noncommercial_file_is_refused_with_its_licence_the_reason_and_the_way_round(weights_dir):
    declare_noncommercial(weights_dir)
    message = (
        r"distillation/lora\.safetensors may not be used commercially \(licence CC0-1\.0\): for research\. "
        "Start with --accept-noncommercial"
    )
    with pytest.raises(WeightsError, match=message):
        load(weights_dir)


def test_an_accepted_noncommercial_file_is_logged_and_told(weights_dir, caplog):
    assert not load(weights_dir, accept_noncommercial=False).info.accepted_noncommercial
    declare_noncommercial(weights_dir)
    assert load(weights_dir, accept_noncommercial=True).info.accepted_noncommercial
    assert "distillation/lora.safetensors (CC0-1.0) is accepted for non-commercial use only" in caplog.text


def declare_noncommercial(weights_dir):
    path = weights_dir / "manifest.toml"
    before, entry, after = path.read_text().partition('[[files]]\npath = "distillation/lora.safetensors"')
    path.write_text(before + entry + after.replace('commercial = "yes"', 'commercial = "no"\nnote = "for research"', 1))


def test_a_manifest_with_an_unknown_field_is_refused(tmp_path):
    path = tmp_path / "manifest.toml"
    path.write_text('[bundles.x]\ntitle = "x"\ntypo = 1\n')
    with pytest.raises(WeightsError, match=r"manifest\.toml"):
        read_manifest(path)


def test_fusing_keeps_the_dtype_and_accumulates_in_float32(golden):
    import json

    configs = json.loads((golden / "configs.json").read_text())
    state = load_file(golden / "unet.safetensors")
    lora = {
        k.removeprefix("lora_weights."): t
        for k, t in load_file(golden / "photomaker_v1.safetensors").items()
        if k.startswith("lora_weights.")
    }
    exact = build_unet(configs["unet"], state, EXACT)
    half = build_unet(configs["unet"], state, Place(EXACT.device, torch.bfloat16))
    for unet in (exact, half):
        fuse_loras({"unet": unet}, [(read_lora(lora, ModuleNames({"unet": unet})), 1.0)])
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    assert half.state_dict()[name].dtype == torch.bfloat16
    torch.testing.assert_close(half.state_dict()[name].float(), exact.state_dict()[name], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "name",
    [
        "base/unet/diffusion_pytorch_model.fp16.safetensors",
        "base/vae/diffusion_pytorch_model.fp16.safetensors",
        "base/text_encoder_2/model.fp16.safetensors",
        "distillation/lora.safetensors",
        "photomaker/photomaker-v1.bin",
    ],
)
def test_a_weight_that_is_no_number_stops_the_start_by_the_names_of_file_and_tensor(weights_dir, name):
    path = weights_dir / name
    state = torch.load(path, weights_only=True) if path.suffix == ".bin" else load_file(path)
    inner = state["id_encoder"] if path.suffix == ".bin" else state
    key = next(key for key, tensor in inner.items() if tensor.is_floating_point() and tensor.dim() > 1)
    inner[key] = inner[key].clone()
    inner[key][0, 0] = torch.nan
    torch.save(state, path) if path.suffix == ".bin" else save_file(state, path)
    (weights_dir / "manifest.toml").write_text(MANIFEST + manifest_files(weights_dir))
    with pytest.raises(WeightsError, match=rf"{re.escape(name)}.*{re.escape(key)} holds a number that is not finite"):
        load(weights_dir)
