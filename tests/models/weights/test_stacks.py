"""Several adapters in one bundle: who shares a UNet, and what a file in another's place is told."""

import pytest

from models.loading import load_parts
from models.messages import Setup
from models.weights.bundle import load_bundle
from models.weights.checkpoints import unpickle
from models.weights.errors import WeightsError
from models.weights.manifest import read_manifest
from scripts.make_untrained_instantid import write_untrained

PHOTOMAKER = "tiny/photomaker/photomaker-v2.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("untrained")
    write_untrained(folder)
    return folder


@pytest.fixture
def load(folder, tmp_path):
    """Load the bundle with lines of its manifest replaced."""

    def run(**lines):
        text = (folder / "manifest.toml").read_text()
        for name, value in lines.items():
            old = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
            text = text.replace(old, f"{name} = {value}" if value is not None else "", 1)
        (tmp_path / "manifest.toml").write_text(text)
        return load_bundle(read_manifest(tmp_path / "manifest.toml"), "tiny-instantid", weights_dir=folder)

    return run


def test_an_adapter_with_a_lora_of_its_own_has_a_unet_of_its_own(load):
    bundle = load()
    assert list(bundle.stacks) == ["photomaker-v2", "instantid"]
    assert {name: stack.denoiser.name for name, stack in bundle.stacks.items()} == {
        "photomaker-v2": "photomaker-v2",
        "instantid": "plain",
    }
    assert bundle.info.default_adapter == "photomaker-v2"
    assert [adapter.takes_pose for adapter in bundle.info.adapters] == [False, True]


def test_a_bundle_can_do_without_photomaker(load):
    assert list(load(photomaker="[]").stacks) == ["instantid"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            {"photomaker": "[]", "instantid": f'"{PHOTOMAKER}"'},
            rf"{PHOTOMAKER}: .*it is not an InstantID checkpoint",
        ),
        ({"photomaker": '["InstantID/ip-adapter.bin"]'}, r"ip-adapter\.bin: .* is not a PhotoMaker checkpoint"),
        (
            {"photomaker": "[]", "identity_net": '"tiny/unet"'},
            r"tiny/unet: the file is of another kind or version: it lacks \d+ weights of a ControlNetModel, like contr",
        ),
        (
            {"photomaker": "[]", "identity_net": None},
            r"ip-adapter\.bin needs its ControlNet: say where with identity_net",
        ),
        ({"photomaker": "[]", "instantid": None}, "needs adapters, and each once; this one has none"),
        ({"photomaker": f'["{PHOTOMAKER}", "{PHOTOMAKER}"]'}, "each once; this one has photomaker-v2, photomaker-v2"),
    ],
    ids=["v2-as-instantid", "instantid-as-v2", "unet-as-net", "no-net", "no-adapter", "twice"],
)
def test_a_file_in_anothers_place_is_told_by_its_name(load, lines, message):
    with pytest.raises(WeightsError, match=message):
        load(**lines)


def test_an_adapter_whose_recogniser_is_not_there_is_refused(folder, tmp_path):
    text = (folder / "manifest.toml").read_text().replace(f'["{PHOTOMAKER}"]', "[]")
    (tmp_path / "manifest.toml").write_text(text.replace('instantid = "proofsheet-tiny"', 'instantid = "antelopev2"'))
    setup = Setup(
        bundle="tiny-instantid",
        manifest=str(tmp_path / "manifest.toml"),
        weights_dir=str(folder),
        face_analyzer="bundled",
        device="cpu",
    )
    with pytest.raises(
        WeightsError, match="adapter instantid needs face embeddings of 'antelopev2', and bundled makes"
    ):
        load_parts(setup)


def test_a_half_written_checkpoint_is_refused_even_where_no_hash_is_known(folder, tmp_path):
    whole = (folder / "InstantID" / "ip-adapter.bin").read_bytes()
    for length in (5000, len(whole) - 100):
        path = tmp_path / "ip-adapter.bin"
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"ip-adapter\.bin is no checkpoint that torch can read, or half of one"):
            unpickle(path)
