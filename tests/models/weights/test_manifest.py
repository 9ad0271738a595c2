"""The manifest that we ship keeps its promises, and one that can't be right is refused with a sentence."""

import hashlib
import re

import pytest

from models.faces.analyzers import NAMES
from models.faces.files import AURAFACE, GLINTR100, W600K_R50
from models.weights.errors import AlteredFile, MissingFile, WeightsError
from models.weights.integrity import verify
from models.weights.listing import listing
from models.weights.lock import LOCK_NAME, Lock
from models.weights.manifest import DEFAULT_MANIFEST, WeightFile, read_manifest

MANIFEST = read_manifest()
PUBLISHED = [file for file in MANIFEST.files if file.remote is not None]
PROFILES = [name for name, bundle in MANIFEST.bundles.items() if not bundle.embedded]


@pytest.mark.parametrize("profile", [name for name in PROFILES if name.startswith("commercial")])
def test_a_commercial_profile_holds_nothing_that_may_not_be_sold_with(profile):
    assert {file.commercial for file in MANIFEST.profile(profile)} == {"yes"}


def test_what_needs_insightface_is_for_research_alone():
    barred = {file.path for file in MANIFEST.files if file.commercial == "no"}
    assert {path.partition("/")[0] for path in barred} == {"PhotoMaker-V2", "InstantID", "faces"}
    assert all(file.note and file.profiles == ("research",) for file in PUBLISHED if file.path in barred)


def test_each_adapter_is_fetched_with_the_first_bundle_that_has_it():
    assert MANIFEST.fetchable == {
        "photomaker": "commercial",
        "photomaker-v2": "research",
        "instantid": "research",
        "ip-adapter": "commercial-ip",
    }


def test_the_embedded_bundle_is_the_default_and_needs_no_fetch():
    assert MANIFEST.bundles["tiny"].embedded
    assert all(file.remote is None for file in MANIFEST.profile("tiny"))


@pytest.mark.parametrize("file", PUBLISHED, ids=[file.path for file in PUBLISHED])
def test_hashes_and_revisions_are_whole_or_absent(file):
    assert file.sha256 is None or re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert file.remote.revision is None or re.fullmatch("[0-9a-f]{40}", file.remote.revision)
    assert file.licence
    assert file.profiles


@pytest.mark.parametrize("profile", PROFILES)
def test_the_face_analyzer_of_a_bundle_exists_and_its_files_are_in_the_profile(profile):
    bundle = MANIFEST.bundles[profile]
    assert set(bundle.face_analyzers) <= set(NAMES)
    paths = [file.path for file in MANIFEST.profile(profile)]
    assert bundle.faces
    assert all(any(path == part or path.startswith(f"{part}/") for path in paths) for part in bundle.faces)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("faces/auraface_glintr100.onnx", AURAFACE),
        ("faces/antelopev2/glintr100.onnx", GLINTR100),
        ("faces/buffalo_l/w600k_r50.onnx", W600K_R50),
    ],
)
def test_a_recogniser_of_the_manifest_makes_embeddings_of_a_known_space(path, known):
    [file] = [file for file in MANIFEST.files if file.path == path]
    assert file.sha256 == known.sha256


def manifest_with(tmp_path, files):
    path = tmp_path / "manifest.toml"
    path.write_text("[bundles]\n" + files)
    return path


def entry(path):
    return f'[[files]]\npath = "{path}"\nlicence = "MIT"\ncommercial = "yes"\norigin = "a test"\n'


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "C:/evil", "a\\\\..\\\\evil"])
def test_a_path_that_leads_out_of_the_weights_folder_is_refused(tmp_path, path):
    with pytest.raises(WeightsError, match="leads out of the weights folder"):
        read_manifest(manifest_with(tmp_path, entry(path)))


def test_a_file_that_is_listed_twice_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="'a/b' is listed twice"):
        read_manifest(manifest_with(tmp_path, entry("a/b") + entry("a/b")))


BUNDLE = DEFAULT_MANIFEST.read_text().partition("[bundles.commercial]")[0]


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ("[]", "a bundle needs adapters, and each once; this one has none"),
        (
            '[{ type = "photomaker", path = "a" }, { type = "photomaker", path = "b" }]',
            "and each once; this one has photomaker, photomaker",
        ),
        (
            '[{ type = "magic", path = "a" }]',
            r"'magic' - at `\$\.bundles.*; an adapter is one of .* \{ type = \"instantid\",",
        ),
        ('[{ type = "instantid", path = "a", face_space = "b" }]', "`identity_net` .*identity_net = "),
        ('[{ type = "ip-adapter", path = "a", face_space = "b" }]', "unknown field `face_space` .*image_encoder = "),
    ],
    ids=["none", "twice", "unknown", "lacking", "surplus"],
)
def test_adapters_that_can_not_be_are_refused_with_how_they_are_written(tmp_path, entries, why):
    (tmp_path / "manifest.toml").write_text(
        re.sub(r"adapters = \[\n.*?\n\]", f"adapters = {entries}", BUNDLE, flags=re.S)
    )
    with pytest.raises(WeightsError, match=why):
        read_manifest(tmp_path / "manifest.toml")


@pytest.mark.parametrize(
    ("ours", "theirs", "why"),
    [
        ("steps = 4", "steps = 51", "steps is 51, and must be a whole number from 1 to 50"),
        ("guidance = 1.0", "guidance = 30.0", "guidance is 30.0, and must be a number from 0 to 20"),
        ("strength = 0.8", "strength = 1.5", r"strength is 1\.5, and must be a number from 0"),
        (
            "scale = 1.0",
            "scale = 3.0",
            r"the scale of the style LoRA 'film' is 3\.0, and must be a number from -2 to 2",
        ),
        ('name = "film"', 'name = "my film"', "a style LoRA's name is 'my film', and must be the name of a style LoRA"),
        ('sampler = "euler"', 'sampler = "unipc"', "sampler is 'unipc', which is none of its samplers"),
        ("size = [256, 256]", "size = [264, 264]", "size is 264x264, which is none of its sizes"),
        ("sizes = [[256, 256]]", "sizes = [[256, 256], [8, 8]]", "a size is '8x8', and must be width x height"),
        ("max_steps = 50", "max_steps = 3", "steps is 4, over its own max_steps of 3"),
    ],
    ids=lambda text: text if "=" in text else "",
)
def test_defaults_that_no_caller_could_ask_for_are_refused(tmp_path, ours, theirs, why):
    bundle = """
[bundles.own]
title = "Own"
unet = "u"
vae = "v"
text_encoder = "t"
text_encoder_2 = "t2"
tokenizer = "k"
tokenizer_2 = "k2"
scheduler = "s"
adapters = [{ type = "photomaker", path = "a" }]
style_loras = [{ name = "film", path = "f", scale = 1.0 }]
steps = 4
max_steps = 50
guidance = 1.0
strength = 0.8
sampler = "euler"
size = [256, 256]
sizes = [[256, 256]]
"""
    files = "".join(entry(part) for part in ("u", "v", "t", "t2", "k", "k2", "s", "a", "f"))
    (tmp_path / "manifest.toml").write_text(bundle + files)
    assert read_manifest(tmp_path / "manifest.toml").bundles["own"].steps == 4
    assert ours in bundle
    (tmp_path / "manifest.toml").write_text(bundle.replace(ours, theirs) + files)
    with pytest.raises(WeightsError, match=f"bundle 'own': {why}"):
        read_manifest(tmp_path / "manifest.toml")


def test_a_manifest_from_before_adapters_were_a_list_is_told_how_to_write_them(tmp_path):
    former = 'photomaker = ["a.bin"]\ninstantid = "b.bin"\nidentity_net = "net"\nface_spaces = { instantid = "c" }'
    (tmp_path / "manifest.toml").write_text(re.sub(r"adapters = \[\n.*?\n\]", former, BUNDLE, flags=re.S))
    why = (
        r"bundle 'tiny' lists no adapters \(unknown here: photomaker, instantid, identity_net, face_spaces\): write "
        r'adapters = \[\.\.\.\], the default first, each as one of \{ type = "photomaker", path = "\.\.\." \}, .*'
        r'\{ type = "instantid", path = "\.\.\.", identity_net = "\.\.\.", face_space = "\.\.\." \}'
    )
    with pytest.raises(WeightsError, match=why):
        read_manifest(tmp_path / "manifest.toml")


def test_a_file_belongs_to_every_bundle_that_reads_it():
    profiles = {file.path: file.profiles for file in MANIFEST.files}
    assert profiles["PhotoMaker/photomaker-v1.bin"] == ("commercial",)
    assert profiles["SDXL-Lightning/sdxl_lightning_4step_lora.safetensors"] == (
        "commercial",
        "commercial-ip",
        "research",
    )


def test_profiles_of_a_file_are_refused_too(tmp_path):
    """They would be replaced by those that the bundles make."""
    entry = '[[files]]\npath = "a.bin"\nlicence = "MIT"\ncommercial = "yes"\norigin = "us"\nprofiles = ["tiny"]\n'
    with pytest.raises(WeightsError, match=r"'a.bin' states `profiles`; leave it out"):
        read_manifest(manifest_with(tmp_path, entry))


def test_profiles_of_a_repository_are_refused_with_whose_word_counts(tmp_path):
    files = '[[repositories]]\nsource = "hub"\nrepo = "a/b"\nlicence = "MIT"\ncommercial = "yes"\nfiles = []\n'
    why = r"unknown field `profiles` - at .*; leave it out: a file belongs to the bundles whose parts name it"
    with pytest.raises(WeightsError, match=why):
        read_manifest(manifest_with(tmp_path, files + 'profiles = ["commercial"]\n'))


def test_an_unknown_profile_is_refused_with_the_known_ones():
    with pytest.raises(WeightsError, match="'comercial' is not in the manifest; it has commercial, "):
        MANIFEST.profile("comercial")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def weight_file(name, data=None, **rest):
    known = {} if data is None else {"sha256": sha256(data)}
    return WeightFile(path=name, licence="MIT", commercial="yes", origin="a test", **known, **rest)


def test_an_older_version_in_a_newer_ones_place_is_recognised(tmp_path):
    first, second = weight_file("v1.bin", b"first"), weight_file("v2.bin", b"second")
    (tmp_path / "v2.bin").write_bytes(b"first")
    with pytest.raises(AlteredFile, match=r"v2\.bin has sha256 .*: these are the bytes of v1\.bin; get it from a test"):
        verify([second], tmp_path, [first, second])


def test_half_a_download_is_told_from_an_altered_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    with pytest.raises(AlteredFile, match="has 5 bytes, the manifest says 9: the file is incomplete"):
        verify([weight_file("a", size=9)], tmp_path)
    with pytest.raises(AlteredFile, match="has 5 bytes, the manifest says 3: the file is altered"):
        verify([weight_file("a", size=3)], tmp_path)


def test_a_missing_file_of_a_profile_is_told_with_the_command_that_brings_it(tmp_path):
    with pytest.raises(MissingFile, match=r"photomaker-v1\.bin is missing; run `proofsheet fetch commercial`"):
        verify([file for file in MANIFEST.files if file.path == "PhotoMaker/photomaker-v1.bin"], tmp_path)


def test_an_unpublished_hash_is_locked_on_first_sight(tmp_path):
    (tmp_path / "a").write_bytes(b"first")
    verify([weight_file("a")], tmp_path)
    assert Lock(tmp_path).files == {"a": sha256(b"first")}
    (tmp_path / "a").write_bytes(b"later")
    with pytest.raises(AlteredFile, match="the file is altered"):
        verify([weight_file("a")], tmp_path)


def test_a_lock_that_can_not_be_read_is_told_with_what_to_do(tmp_path):
    (tmp_path / LOCK_NAME).write_text('{"files": 3}')
    with pytest.raises(WeightsError, match=r"manifest\.lock can't be read .* delete it to lock the files anew"):
        Lock(tmp_path)


def test_the_table_names_size_licence_and_terms_and_the_total():
    lines = list(listing(MANIFEST.profile("research"), None))
    [controlnet] = [line for line in lines if line.startswith("InstantID/ControlNetModel/diffusion")]
    assert re.search(r"  2\.50 GB  Apache-2\.0 +no$", controlnet)
    assert re.search(r"total: \d+ files, about 1\d\.\d\d GB", "\n".join(lines))
    assert any("not for commercial use: PhotoMaker-V2/photomaker-v2.bin" in line for line in lines)


def test_the_table_tells_what_is_here_and_what_is_to_come(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"12")
    files = [weight_file("a", size=5), weight_file("b", size=3_000_000), weight_file("c", size=1_000_000)]
    states = [line.split("  ")[-1].strip() for line in listing(files, tmp_path)]
    assert states[1:4] == ["here", "incomplete or altered", "to fetch"]
    assert states[-1] == f"to fetch into {tmp_path}: 2 files, 4.00 MB"
