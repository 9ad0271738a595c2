"""InstantID against its recorded reference, and the reference's traps."""

import pytest
import torch

from models.adapters.adapter import Identity, Pose
from models.adapters.decoupled import load_image_projection
from models.adapters.instantid.adapter import FULL_SCALE, IDENTITY_NET
from models.adapters.instantid.checkpoint import split_instantid
from models.faces.face import Face
from models.sdxl.attention import attention_layers
from models.sdxl.text import PromptTooLong
from models.wire.picture import Picture
from scripts.golden.instantid import InstantIDFolder
from tests.models.conftest import GOLDEN_INSTANTID
from tests.models.scenes import scene_of

SPACE = "golden"


@pytest.fixture(scope="module")
def adapter(records):
    return records.parts[0]


@pytest.fixture(scope="module")
def embedding(records):
    return records.shared["in.face_embedding"].numpy()


def scene(**changes):
    given = {
        "prompt": "portrait photo of a man wearing a hat",
        "negative_prompt": None,
        "subject": "man",
        "width": 128,
        "height": 192,
        "steps": 4,
        "strength": 1.0,
        "guidance": 1.0,
    }
    return scene_of(**(given | changes))


def face_of(records, embedding, space=SPACE):
    return Face((20.0, 40.0, 110.0, 150.0), records.shared["in.kps"].numpy(), 1.0, embedding, space)


def picture():
    return Picture(width=128, height=192, rgb=bytes(3 * 128 * 192))


def identity_of(records, adapter, embedding):
    return adapter.identity([picture()], [face_of(records, embedding)])


@pytest.mark.parametrize("case", InstantIDFolder(GOLDEN_INSTANTID).cases)
def test_every_recorded_case_is_reproduced(records, case):
    outcome = records.check_case(case)
    assert outcome.ok, str(outcome)


def test_strength_0_adds_nothing_to_the_text(records, adapter, embedding):
    conditioning = adapter.condition(identity_of(records, adapter, embedding), scene(strength=0.0, guidance=5.0))
    assert conditioning.image is None
    assert conditioning.negative_image is None
    assert conditioning.controls == conditioning.negative_controls == ()


def test_strength_scales_both_channels_and_control_strength_its_own(records, adapter, embedding):
    conditioning = adapter.condition(identity_of(records, adapter, embedding), scene(strength=0.5))
    assert (conditioning.image.scale, conditioning.controls[0].scale) == (0.5 * FULL_SCALE, 0.5 * FULL_SCALE)
    conditioning = adapter.condition(
        identity_of(records, adapter, embedding), scene(strength=0.5, control_strength=1.0)
    )
    assert (conditioning.image.scale, conditioning.controls[0].scale) == (0.5 * FULL_SCALE, FULL_SCALE)


def test_guidances_negative_side_sees_nobody_rather_than_nothing(records, adapter, embedding):
    conditioning = adapter.condition(identity_of(records, adapter, embedding), scene(guidance=5.0))
    nobody = adapter.tokens_of(torch.zeros(1, 512))
    assert nobody.abs().max() > 0
    assert torch.equal(conditioning.negative_image.keys_values, adapter.projection(nobody))
    assert torch.equal(conditioning.negative_controls[0].context, adapter._net.context(nobody))
    assert torch.equal(conditioning.negative_controls[0].hint, conditioning.controls[0].hint)


def test_the_keypoint_net_reads_the_face_and_never_the_text(records, adapter, embedding):
    identity = identity_of(records, adapter, embedding)
    control = adapter.condition(identity, scene()).controls[0]
    assert control.net == IDENTITY_NET
    assert torch.equal(control.context, adapter._net.context(adapter.tokens_of(identity.tokens)))


@pytest.mark.parametrize(
    ("window", "steps"),
    [((0.0, 1.0), [0, 1, 2, 3]), ((0.25, 0.75), [1, 2]), ((0.0, 0.5), [0, 1]), ((0.3, 0.4), [])],
)
def test_the_window_names_the_steps_that_lie_wholly_inside(records, adapter, embedding, window, steps):
    control = adapter.condition(identity_of(records, adapter, embedding), scene(control_window=window)).controls[0]
    assert list(control.steps) == steps


def test_several_selfies_are_averaged_and_the_first_one_poses(records, adapter, embedding):
    faces = [face_of(records, embedding), face_of(records, 3 * embedding)]
    identity = adapter.identity([picture()] * 2, faces)
    assert torch.allclose(identity.tokens, torch.from_numpy(2 * embedding)[None])
    assert identity.pose.landmarks is faces[0].landmarks


def test_the_embeddings_length_counts(records, adapter, embedding):
    """The weights were trained on raw embeddings; unit vectors load, look plausible and weaken the identity."""
    raw, halved = (adapter.tokens_of(identity_of(records, adapter, e).tokens) for e in (embedding, embedding / 2))
    assert (raw - halved).abs().max() > 0.01


def test_embeddings_of_another_recogniser_are_refused(records, adapter, embedding):
    with pytest.raises(ValueError, match="instantid needs face embeddings of golden, got buffalo_l"):
        adapter.identity([picture()], [face_of(records, embedding, "buffalo_l")])


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_over_77_tokens_is_refused_with_the_numbers(adapter, field):
    with pytest.raises(PromptTooLong, match=r"has \d+ tokens and 75 fit"):
        adapter.check_scene(scene(**{field: "photo " * 80}), num_selfies=1)


def test_an_identity_prints_no_biometrics(records, adapter, embedding):
    identity = identity_of(records, adapter, embedding)
    assert repr(identity) == "Identity(1 tokens)"
    assert "landmarks" not in repr(identity.pose)


def published(records):
    pickle = torch.load(records.folder / "ip-adapter.bin", weights_only=True)
    return {f"{part}.{key}": tensor for part, inner in pickle.items() for key, tensor in inner.items()}


def test_layers_are_counted_down_up_middle(records):
    """In the natural order, down, middle, up, 58 of SDXL's 70 layers fit by shape alone and the face is lost."""
    names = [name for name, _ in attention_layers(records.unet)]
    firsts = [next(i for i, name in enumerate(names) if name.startswith(part)) for part in ("down", "up", "mid")]
    assert firsts == sorted(firsts)
    assert all(name.endswith("attn2") == bool(i % 2) for i, name in enumerate(names))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda s: s.pop("ip_adapter.5.to_v_ip.weight"), "lacks 1 weights .* first 5.to_v_ip.weight"),
        (lambda s: s.update({"ip_adapter.4.to_k_ip.weight": torch.zeros(1)}), "no place for, first 4.to_k_ip.weight"),
        (
            lambda s: s.update({"ip_adapter.1.to_k_ip.weight": torch.zeros(32, 64)}),
            r"1.to_k_ip.weight is \[32, 64\], this UNet needs \[24, 64\]",
        ),
    ],
    ids=["missing", "surplus", "misshapen"],
)
def test_an_adapter_of_another_unet_is_refused(records, change, problem):
    state = published(records)
    change(state)
    with pytest.raises(ValueError, match=problem):
        split_instantid(state, records.unet)


def test_another_adapters_file_is_refused(records):
    with pytest.raises(ValueError, match="it is not an InstantID checkpoint"):
        split_instantid({"id_encoder.fuse_module.mlp1.fc1.weight": torch.zeros(1)}, records.unet)


def test_keys_and_values_of_all_layers_are_the_layers_own(records):
    state = {key.removeprefix("ip_adapter."): t for key, t in published(records).items() if "_ip" in key}
    projection = load_image_projection(state, records.unet)
    tokens = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    keys, values = projection(tokens).unbind(1)
    first, second = state["1.to_k_ip.weight"], state["3.to_k_ip.weight"]
    assert torch.allclose(keys[:, : len(first)], tokens @ first.T, atol=1e-6)
    assert torch.allclose(keys[:, len(first) : len(first) + len(second)], tokens @ second.T, atol=1e-6)
    last = state[f"{max(int(key.split('.')[0]) for key in state)}.to_v_ip.weight"]
    assert torch.allclose(values[:, -len(last) :], tokens @ last.T, atol=1e-6)


def test_a_pose_of_nobody_still_composes(records, adapter, embedding):
    """Warming up has no face; nor has a detector without landmarks a shape worth keeping."""
    nowhere = Pose(torch.zeros(5, 2).numpy(), (0.0, 0.0, 1.0, 1.0), (128, 192))
    conditioning = adapter.condition(Identity(torch.zeros(1, 512), nowhere), scene())
    assert torch.isfinite(conditioning.controls[0].hint).all()
