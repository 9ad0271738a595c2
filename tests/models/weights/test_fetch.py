"""`proofsheet fetch` against a hub on this machine that cuts connections, serves wrong bytes and loses files."""

import hashlib
import io
import random
import zipfile

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from models.weights.archive import extract
from models.weights.errors import WeightsError
from models.weights.fetch import fetch, main
from models.weights.lock import Lock
from models.weights.manifest import read_manifest
from tests.models.weights.hub import COMMIT, Hub

UNET = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(20_000_000)  # the hub's client writes in chunks of 10 MiB
PACK = {"det.onnx": b"detector" * 400, "rec.onnx": b"recogniser" * 700}
BUNDLE = """
[bundles.all]
title = "a base, an adapter in a pickle, and a pack of face models"
adapters = [{ type = "photomaker", path = "adapter/adapter.bin" }]
faces = ["faces/pack"]
"""
BUNDLE += "".join(
    f'{part} = "base"\n'
    for part in ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def pickled():
    out = io.BytesIO()
    torch.save({"id_encoder": {"a": torch.ones(2, 3)}, "lora_weights": {"b": torch.zeros(4)}}, out)
    return out.getvalue()


def zipped(entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.fixture
def hub():
    repositories = {
        "made/base": {"unet.safetensors": UNET, "config.json": b"{}"},
        "made/adapter": {"adapter.bin": pickled()},
    }
    nested = {f"pack/pack/{name}": data for name, data in PACK.items()}  # as antelopev2.zip is
    with Hub(repositories, {"pack.zip": zipped(nested | {"pack/extra.onnx": b"unused"})}) as hub:
        yield hub


def repository(repo, files, source="hub", **rest):
    fields = {"source": source, "repo": repo, "licence": "MIT", "commercial": "yes", **rest}
    lines = "".join(f'{key} = "{value}"\n' for key, value in fields.items() if key != "archive")
    archive = f'archive = {{ path = "{rest["archive"]}" }}\n' if "archive" in rest else ""
    entries = ", ".join(f"{{ {', '.join(f'{k} = {v!r}' for k, v in entry.items())} }}" for entry in files)
    return f"[[repositories]]\n{lines}{archive}files = [{entries}]\n"


@pytest.fixture
def fetch_all(hub, tmp_path):
    """Fetch the profile into tmp_path/weights; `unet` is what the manifest knows of the large file's bytes."""

    def run(unet=None, **options):
        text = BUNDLE
        text += repository("made/base", [{"path": "unet.safetensors", **(unet or {})}, {"path": "config.json"}])
        text += repository("made/adapter", [{"path": "adapter.bin"}])
        members = [{"path": name, "sha256": sha256(data)} for name, data in PACK.items()]
        text += repository(f"{hub.url}/files", members, source="url", archive="pack.zip", folder="faces/pack")
        (tmp_path / "manifest.toml").write_text(text)
        said = []
        manifest = read_manifest(tmp_path / "manifest.toml")
        fetch(manifest, "all", tmp_path / "weights", say=said.append, **{"endpoint": hub.url, **options})
        return "\n".join(said)

    return run


@pytest.fixture
def root(tmp_path):
    return tmp_path / "weights"


def test_everything_arrives_verified_converted_and_locked(fetch_all, root):
    said = fetch_all()
    assert (root / "base" / "unet.safetensors").read_bytes() == UNET
    assert set(load_file(root / "adapter" / "adapter.safetensors")) == {"id_encoder.a", "lora_weights.b"}
    assert {path.name: path.read_bytes() for path in (root / "faces" / "pack").iterdir()} == PACK
    lock = Lock(root)
    assert lock.files["base/unet.safetensors"] == sha256(UNET)
    assert lock.revisions == {"made/base": COMMIT, "made/adapter": COMMIT}
    assert list(lock.conversions) == ["adapter/adapter.safetensors"]
    assert not list(root.rglob("*.partial"))
    assert "5 files fetched, 0 were here" in said


def test_a_second_run_does_nothing_and_asks_nobody(fetch_all, hub, root):
    fetch_all()
    hub.asked.clear()
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert "0 files fetched, 5 were here" in fetch_all()
    assert hub.asked == []
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == stamps


@pytest.mark.parametrize("abrupt", [False, True], ids=["closed", "reset"])
def test_a_cut_connection_is_resumed_where_it_was_cut(fetch_all, hub, root, abrupt):
    hub.repositories["made/base"]["unet.safetensors"] = LARGE
    hub.abrupt = abrupt
    hub.cuts["unet.safetensors"] = [19_000_000]
    fetch_all()
    assert (root / "base" / "unet.safetensors").read_bytes() == LARGE
    first, second = hub.gets("unet.safetensors")
    assert first is None
    assert 10_000_000 < int(second.removeprefix("bytes=").rstrip("-")) <= 19_000_000


def test_a_download_that_never_finishes_is_kept_and_the_next_run_goes_on(fetch_all, hub, root):
    hub.repositories["made/base"]["unet.safetensors"] = LARGE
    hub.abrupt = True
    hub.cuts["unet.safetensors"] = [19_000_000, *[0] * 20]
    with pytest.raises(WeightsError, match=r"cut after \d+ of 20000000 bytes .* run the same command again"):
        fetch_all()
    assert not (root / "base" / "unet.safetensors").exists()
    assert (root / "base" / "config.json").exists()  # the others came all the same
    hub.cuts.clear()
    hub.asked.clear()
    assert "1 files fetched, 4 were here" in fetch_all()
    [resumed] = hub.gets("unet.safetensors")
    assert int(resumed.removeprefix("bytes=").rstrip("-")) > 10_000_000
    assert (root / "base" / "unet.safetensors").read_bytes() == LARGE


def test_an_unfinished_download_of_other_bytes_is_not_continued(fetch_all, hub, root):
    hub.repositories["made/base"]["unet.safetensors"] = LARGE
    hub.abrupt = True
    hub.cuts["unet.safetensors"] = [19_000_000, *[0] * 20]
    with pytest.raises(WeightsError, match="run the same command again"):
        fetch_all()
    hub.cuts.clear()
    hub.repositories["made/base"]["unet.safetensors"] = UNET
    fetch_all()
    assert hub.gets("unet.safetensors")[-1] is None
    assert (root / "base" / "unet.safetensors").read_bytes() == UNET
    assert not list(root.rglob("*.partial"))


@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: b"x" + data[1:]], ids=["truncated", "altered"])
def test_a_damaged_file_is_refused_and_fetched_again(fetch_all, hub, root, damage):
    fetch_all(unet={"size": len(UNET), "sha256": sha256(UNET)})
    path = root / "base" / "unet.safetensors"
    path.write_bytes(damage(UNET))
    said = fetch_all(unet={"size": len(UNET), "sha256": sha256(UNET)})
    assert "unet.safetensors has" in said
    assert "fetching it again" in said
    assert "1 files fetched, 4 were here" in said
    assert path.read_bytes() == UNET


def test_a_damaged_file_of_an_unpublished_hash_is_fetched_again_too(fetch_all, root):
    fetch_all()
    (root / "base" / "config.json").write_bytes(b"{ }")
    assert "1 files fetched" in fetch_all()
    assert (root / "base" / "config.json").read_bytes() == b"{}"


def test_a_file_that_is_not_the_manifests_is_refused_before_it_is_downloaded(fetch_all, hub, root):
    with pytest.raises(
        WeightsError, match=r"made/base:unet.safetensors is not what the manifest describes: its sha256"
    ):
        fetch_all(unet={"sha256": sha256(b"what was published once")})
    assert hub.gets("unet.safetensors") == []
    assert not (root / "base" / "unet.safetensors").exists()


def test_bytes_that_differ_from_their_announcement_are_deleted(fetch_all, hub, root):
    hub.repositories["made/base"]["unet.safetensors"] = b"y" * len(UNET)
    hub.announced = {"unet.safetensors": sha256(UNET)}
    with pytest.raises(WeightsError, match=r"arrived with sha256 .* expected .* It was deleted"):
        fetch_all(unet={"sha256": sha256(UNET)})
    assert not list((root / "base").glob("unet*"))


def test_a_publisher_who_changes_a_locked_file_is_noticed(fetch_all, hub, root):
    fetch_all()
    (root / "base" / "config.json").unlink()
    hub.repositories["made/base"]["config.json"] = b'{"changed": true}'
    with pytest.raises(WeightsError, match=r"config.json arrived with sha256 .* expected"):
        fetch_all()


def test_a_full_disk_is_told_before_anything_is_downloaded(fetch_all, hub):
    with pytest.raises(WeightsError, match=r"has 0\.10 MB free and 0\.3\d MB are needed: make room or choose another"):
        fetch_all(room=lambda _: 100_000)
    assert not [method for method, _, _ in hub.asked if method == "GET"]


def test_offline_names_what_is_missing_and_how_to_bring_it(fetch_all, hub):
    with pytest.raises(WeightsError, match=r"5 of 5 files are not in .*base/unet.safetensors.*fetch all --from DIR"):
        fetch_all(offline=True)
    assert hub.asked == []


def test_offline_is_content_with_files_that_are_here(fetch_all, hub):
    fetch_all()
    hub.asked.clear()
    fetch_all(offline=True)
    assert hub.asked == []


def test_an_unreachable_hub_is_told_with_what_to_try(fetch_all):
    with Hub({}) as gone:
        url = gone.url
    with pytest.raises(WeightsError, match=r"can't reach .*Check the connection.*--from DIR"):
        fetch_all(endpoint=url)


def test_a_file_that_its_publisher_removed_is_named(fetch_all, hub):
    del hub.repositories["made/adapter"]["adapter.bin"]
    with pytest.raises(WeightsError, match=r"made/adapter:adapter\.bin is not there"):
        fetch_all()


def test_an_air_gapped_site_takes_the_folder_of_another(fetch_all, hub, root, tmp_path):
    fetch_all()
    stick = root.rename(tmp_path / "stick")
    hub.asked.clear()
    assert "5 files fetched" in fetch_all(from_dir=stick)
    assert hub.asked == []
    assert (root / "base" / "unet.safetensors").read_bytes() == UNET
    assert Lock(root).files == Lock(stick).files


def test_an_air_gapped_site_takes_packs_as_they_are_published(fetch_all, hub, root, tmp_path):
    fetch_all()
    stick = root.rename(tmp_path / "stick")
    for path in (stick / "faces" / "pack").iterdir():
        path.unlink()
    (stick / "pack.zip").write_bytes(hub.files["pack.zip"])
    fetch_all(from_dir=stick)
    assert {path.name: path.read_bytes() for path in (root / "faces" / "pack").iterdir()} == PACK


def test_a_folder_that_lacks_or_damaged_a_file_is_refused_with_its_name(fetch_all, root, tmp_path):
    fetch_all()
    stick = root.rename(tmp_path / "stick")
    (stick / "base" / "config.json").write_bytes(b"{ }")
    with pytest.raises(WeightsError, match=r"stick/base/config\.json has sha256"):
        fetch_all(from_dir=stick)
    (stick / "base" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"stick lacks base/config\.json"):
        fetch_all(from_dir=stick)


def test_a_pack_with_an_altered_member_is_refused(fetch_all, hub):
    hub.files["pack.zip"] = zipped(PACK | {"rec.onnx": b"another recogniser"})
    with pytest.raises(WeightsError, match=r"rec\.onnx has sha256"):
        fetch_all()


def test_a_pack_without_a_member_is_refused(fetch_all, hub):
    hub.files["pack.zip"] = zipped({"det.onnx": PACK["det.onnx"]})
    with pytest.raises(WeightsError, match=r"holds 0 files called rec\.onnx"):
        fetch_all()


def test_half_a_pack_is_refused(fetch_all, hub):
    hub.files["pack.zip"] = hub.files["pack.zip"][:500]
    with pytest.raises(WeightsError, match=r"is not a zip file that can be read, or half of one"):
        fetch_all()


@pytest.mark.parametrize("entry", ["../../evil.onnx", "/evil.onnx", "pack/../../evil.onnx"])
def test_an_archive_can_not_choose_where_its_files_land(tmp_path, entry):
    archive = tmp_path / "below" / "slip.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped({entry: b"slipped"}))
    before = set(tmp_path.rglob("*"))
    extract(archive, "evil.onnx", tmp_path / "below" / "wanted.onnx")
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "below" / "wanted.onnx"}


def test_a_pickle_that_runs_code_is_refused_by_name(fetch_all, hub, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    out = io.BytesIO()
    torch.save({"id_encoder": Trap()}, out)
    hub.repositories["made/adapter"]["adapter.bin"] = out.getvalue()
    with pytest.raises(WeightsError, match=r"adapter\.bin is a pickle that asks to run code"):
        fetch_all()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["comercial"], "Error: bundle 'comercial' is not in the manifest; it has commercial"),
        (["commercial"], "Error: say where the files go: --weights-dir DIR or PROOFSHEET_WEIGHTS_DIR"),
        (["commercial", "--offline", "--weights-dir", "{tmp}"], "19 of 19 files are not in"),
        (["commercial", "--from", "{tmp}/nowhere", "--weights-dir", "{tmp}"], "nowhere is not a folder"),
        (["commercial", "--offline", "--weights-dir", "{tmp}/file/below"], "can't be made"),
    ],
    ids=["unknown", "no-folder", "offline", "from-nowhere", "below-a-file"],
)
def test_the_command_says_in_one_sentence_what_is_wrong(tmp_path, arguments, message):
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, [argument.format(tmp=tmp_path) for argument in arguments])
    assert result.exit_code == 1
    assert message in result.output


def test_the_embedded_bundle_needs_no_fetch():
    result = CliRunner().invoke(main, ["tiny"])
    assert (result.exit_code, result.output) == (0, "tiny comes with the installation: nothing to fetch\n")
