"""Several adapters in one bundle: who shares a UNet, what each keeps, and what a file in another's place is told."""

import shutil

import cv2
import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.adapters.instantid.spec import InstantIDSpec
from models.adapters.photomaker.spec import PhotoMakerSpec, PhotoMakerV2Spec
from models.bundle.bundle import load_bundle
from models.faces.analyzers import load_analyzer
from models.weights.errors import WeightsError
from models.weights.footprint import expected_footprints
from models.weights.manifest import DEFAULT_MANIFEST, PACKAGE, WeightFile, read_manifest
from models.wire.setup import Setup
from models.worker.loading import load_parts

V2 = "tiny/photomaker/photomaker-v2.safetensors"
V1 = "tiny/photomaker-v1/photomaker-v1.safetensors"
INSTANTID = "tiny/instantid/ip-adapter.safetensors"
NET = "tiny/instantid/ControlNetModel"
V2_WITH_LORA = "lora/photomaker-v2.safetensors"
SPACE = "proofsheet-tiny"
TO_K = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
FLOAT32_BYTES = 4


@pytest.fixture
def folder(tmp_path):
    """A weights folder with the embedded bundle's files in it."""
    (tmp_path / "tiny").symlink_to(PACKAGE / "tiny")
    return tmp_path


def made_manifest(folder, **changes):
    """Of the embedded bundle, changed, below `folder`; and of whatever a test wrote there."""
    manifest = read_manifest()
    spec = msgspec.structs.replace(manifest.bundle("tiny"), embedded=False, **changes)
    made = [
        WeightFile(path=str(path.relative_to(folder)), licence="CC0-1.0", commercial="yes", origin="made by a test")
        for path in folder.rglob("*.*")
    ]
    return msgspec.structs.replace(manifest, bundles={"tiny": spec}, files=[*manifest.files, *made])


def load(folder, **changes):
    return load_bundle(made_manifest(folder, **changes), "tiny", weights_dir=folder)


def write_photomaker_with_lora(folder):
    """The embedded v2 and a LoRA of random numbers in the published key format. Returns what it adds to TO_K."""
    state = load_file(PACKAGE / V2)
    weight = load_file(PACKAGE / "tiny" / "unet" / "diffusion_pytorch_model.safetensors")[f"{TO_K}.weight"]
    generator = torch.Generator().manual_seed(4)
    down, up = (torch.randn(shape, generator=generator) for shape in ((2, weight.shape[1]), (weight.shape[0], 2)))
    stem = f"lora_weights.unet.{TO_K.removesuffix('to_k')}processor.to_k_lora"
    (folder / V2_WITH_LORA).parent.mkdir()
    save_file(state | {f"{stem}.down.weight": down, f"{stem}.up.weight": up}, folder / V2_WITH_LORA)
    shutil.copy((PACKAGE / V2).with_name("config.json"), (folder / V2_WITH_LORA).parent)
    return up @ down


def v1(path=V1):
    return PhotoMakerSpec(path=path)


def v2(path=V2):
    return PhotoMakerV2Spec(path=path, face_space=SPACE)


def instantid(path=INSTANTID, identity_net=NET):
    return InstantIDSpec(path=path, identity_net=identity_net, face_space=SPACE)


def unets(bundle):
    return {name: stack.denoiser.name for name, stack in bundle.stacks.items()}


def weight_of(bundle, adapter):
    [unet] = bundle.stacks[adapter].denoiser.modules()
    return unet.get_parameter(f"{TO_K}.weight")


def test_adapters_without_a_lora_share_one_unet():
    bundle = load_bundle(read_manifest(), "tiny")
    assert unets(bundle) == {"photomaker-v2": "plain", "photomaker": "plain", "instantid": "plain"}
    assert len({id(stack.denoiser) for stack in bundle.stacks.values()}) == 1
    assert bundle.info.default_adapter == "photomaker-v2"
    assert [adapter.takes_pose for adapter in bundle.info.adapters] == [False, False, True]


def test_a_photomaker_with_a_lora_has_a_unet_of_its_own_and_the_others_see_nothing_of_it(folder):
    update = write_photomaker_with_lora(folder)
    bundle = load(folder, adapters=[v2(V2_WITH_LORA), v1(), instantid()])
    assert unets(bundle) == {"photomaker-v2": "photomaker-v2", "photomaker": "plain", "instantid": "plain"}
    plain = weight_of(bundle, "instantid")
    assert weight_of(bundle, "photomaker") is plain
    torch.testing.assert_close(weight_of(bundle, "photomaker-v2") - plain, update, rtol=1e-4, atol=1e-5)


def test_the_first_of_the_manifest_is_the_default_whichever_unet_it_runs_on(folder):
    write_photomaker_with_lora(folder)
    for adapters in ([v1(), v2(V2_WITH_LORA), instantid()], [instantid(), v2(V2_WITH_LORA), v1()]):
        bundle = load(folder, adapters=adapters)
        assert [*bundle.stacks] == [adapter.name for adapter in adapters]
        assert bundle.info.default_adapter == adapters[0].name


def test_the_files_foretell_who_owns_a_unet(folder):
    write_photomaker_with_lora(folder)
    manifest = made_manifest(folder, adapters=[v2(V2_WITH_LORA), v1(), instantid()])
    foretold = expected_footprints(manifest.bundle("tiny"), folder, FLOAT32_BYTES)
    loaded = load_bundle(manifest, "tiny", weights_dir=folder).info.adapters
    told = {one.name: (one.own_bytes, one.shared_bytes) for one in loaded}
    assert told == {name: (size.own_bytes, size.shared_bytes) for name, size in foretold.items()}
    assert told["photomaker-v2"][1] < told["photomaker"][1]


def test_a_bundle_can_do_without_photomaker(folder):
    assert [*load(folder, adapters=[instantid()]).stacks] == ["instantid"]


def test_a_bundle_of_photomakers_with_loras_keeps_no_plain_unet(folder):
    write_photomaker_with_lora(folder)
    assert unets(load(folder, adapters=[v2(V2_WITH_LORA)])) == {"photomaker-v2": "photomaker-v2"}


def test_matrices_stored_as_float8_are_float32_once_loaded_on_a_cpu(folder):
    """Half the bytes of a file; nothing computes in it."""
    stored = {}
    for source, name in ((INSTANTID, "ip-adapter"), (f"{NET}/diffusion_pytorch_model.safetensors", "net/weights")):
        state = load_file(PACKAGE / source)
        stored[name] = {key: t.to(torch.float8_e4m3fn if t.dim() > 1 else torch.float16) for key, t in state.items()}
        (folder / "float8" / name).parent.mkdir(parents=True, exist_ok=True)
        save_file(stored[name], folder / "float8" / f"{name}.safetensors")
    shutil.copy(PACKAGE / NET / "config.json", folder / "float8" / "net")
    bundle = load(folder, adapters=[instantid("float8/ip-adapter.safetensors", "float8/net")])
    parameters = [p for module in bundle.stacks["instantid"].adapter.modules() for p in module.parameters()]
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    numbers = [tensor.float().flatten() for state in stored.values() for tensor in state.values()]
    assert torch.equal(torch.cat(numbers).sort()[0], torch.cat([p.flatten() for p in parameters]).sort()[0])


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (instantid(V2), rf"^{V2}: .*it is not an InstantID checkpoint"),
        (v2(INSTANTID), rf"^{INSTANTID}: .* is not a PhotoMaker checkpoint"),
        (v1(V2), rf"^{V2}: the checkpoint is of the type 'photomaker-v2', and the manifest says 'photomaker'"),
        (
            instantid(INSTANTID, "tiny/unet"),
            r"^tiny/unet: the file is of another kind or version: it lacks \d+ weights of a ControlNetModel, like",
        ),
    ],
    ids=["v2-as-instantid", "instantid-as-v2", "v2-as-v1", "unet-as-net"],
)
def test_a_file_in_anothers_place_is_told_by_its_name(folder, adapter, message):
    with pytest.raises(WeightsError, match=message):
        load(folder, adapters=[adapter])


def test_a_lora_that_does_not_fit_is_told_by_its_files_name(folder):
    write_photomaker_with_lora(folder)
    state = load_file(folder / V2_WITH_LORA)
    save_file({key.replace("mid_block", "far_block"): t for key, t in state.items()}, folder / V2_WITH_LORA)
    with pytest.raises(WeightsError, match=rf"{V2_WITH_LORA}: .*far_block.* names a module that this model does not"):
        load(folder, adapters=[v2(V2_WITH_LORA)])


def test_an_adapter_whose_recogniser_is_not_there_is_refused(folder):
    path = folder / "manifest.toml"
    net = f'identity_net = "{NET}", face_space = '
    path.write_text(DEFAULT_MANIFEST.read_text().replace(f'{net}"{SPACE}"', f'{net}"antelopev2"'))
    setup = Setup(bundle="tiny", manifest=str(path), face_analyzer="bundled", device="cpu")
    with pytest.raises(
        WeightsError, match="adapter instantid needs face embeddings of 'antelopev2', and bundled makes"
    ):
        load_parts(setup)


def test_a_setup_tells_detectors_where_to_look_first(monkeypatch):
    told = []
    monkeypatch.setattr(
        "models.worker.loading.load_analyzer",
        lambda name, **options: told.append(options["first_side"]) or load_analyzer(name, **options),
    )
    load_parts(Setup(device="cpu", face_side=320))
    assert told == [320]


def test_opencv_keeps_to_the_thread_that_calls_it():
    cv2.setNumThreads(2)
    load_parts(Setup(device="cpu"))
    assert cv2.getNumThreads() == 1
