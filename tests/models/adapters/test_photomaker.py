"""PhotoMaker against its recorded reference, and what the reference gets wrong."""

import pytest
import torch

from models.adapters.photomaker.adapter import merge_step
from models.adapters.photomaker.checkpoint import PhotoMakerCheckpoint, build_encoder
from models.adapters.photomaker.encoder import EncoderShape, PerceiverShape, PhotoMakerEncoder, VisionShape
from models.adapters.photomaker.trigger import TriggerError, place_trigger
from scripts.golden.photomaker import PhotoMakerFolder, face_of, picture_of
from tests.models.conftest import GOLDEN
from tests.models.scenes import scene_of


@pytest.fixture(scope="module")
def folder():
    return PhotoMakerFolder(GOLDEN)


def scene(**changes):
    given = {
        "prompt": "portrait photo of a man wearing a hat",
        "negative_prompt": None,
        "subject": "man",
        "width": 64,
        "height": 64,
        "steps": 4,
        "strength": 1.0,
        "guidance": 1.0,
    }
    return scene_of(**(given | changes))


@pytest.mark.parametrize("index", range(len(PhotoMakerFolder(GOLDEN).json("index.json")["cases"])))
def test_every_recorded_case_is_reproduced(folder, index):
    case = folder.json("index.json")["cases"][index]
    outcome = folder.check_case(case)
    assert outcome.ok, str(outcome)


def selfies(folder, count, version):
    data = folder.tensors(f"pipeline_{version}_cfg5_merge0_3img_2out")
    pictures = [picture_of(data[f"in.image.{i}"]) for i in range(count)]
    embeddings = data["in.id_embeds"].numpy() if version == "v2" else [None] * count
    return pictures, [face_of(embeddings[i]) for i in range(count)]


@pytest.mark.parametrize("perceiver", [None, PerceiverShape(depth=1, heads=2, dim_head=8, token_proj_ratio=1)])
def test_an_encoder_is_its_file_s_tensors_and_no_random_weight_is_ever_drawn(perceiver):
    """At full size random weights cost 2.1 GB and eleven seconds that the file's then overwrote."""
    vision = VisionShape(
        hidden_size=32, intermediate_size=32, num_attention_heads=2, num_hidden_layers=1, image_size=28
    )
    shape = EncoderShape(vision=vision, cross_attention_dim=800, perceiver=perceiver)
    drawn = PhotoMakerEncoder(shape).eval()
    torch.manual_seed(3)
    next_number = torch.rand(1)
    torch.manual_seed(3)
    encoder = build_encoder(PhotoMakerCheckpoint(drawn.state_dict(), {}, shape), torch.device("cpu"), torch.float32)
    assert torch.equal(torch.rand(1), next_number)
    pixels, face = torch.rand(1, 3, 28, 28), torch.rand(1, 512) if perceiver else None
    assert torch.equal(encoder(pixels, face), drawn(pixels, face))
    assert all(
        mine.data_ptr() == stored.data_ptr()
        for mine, stored in zip(encoder.state_dict().values(), drawn.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_second_fuse_of_the_same_prompt_gives_the_same_result(folder, version):
    """The reference fuses in place and returns an alias: its second use of a cached prompt is fused twice."""
    maker, _ = folder.maker(version)
    identity = maker.identity(*selfies(folder, 2, version))
    first = maker.condition(identity, scene()).personal.embeds.clone()
    again = maker.condition(identity, scene()).personal.embeds
    assert torch.equal(first, again)


def test_two_people_of_one_prompt_share_the_text_and_differ_at_the_class_token_alone(folder):
    maker, _ = folder.maker("v1")
    pictures, faces = selfies(folder, 2, "v1")
    one = maker.condition(maker.identity(pictures[:1], faces[:1]), scene()).personal
    other = maker.condition(maker.identity(pictures[1:], faces[1:]), scene()).personal
    differs = (one.embeds != other.embeds).any(dim=1).nonzero()[:, 0].tolist()
    assert differs == [5]  # <start> portrait photo of a man
    assert torch.equal(one.pooled, other.pooled)


def test_strength_0_never_shows_the_identity(folder):
    maker, _ = folder.maker("v1")
    conditioning = maker.condition(maker.identity(*selfies(folder, 1, "v1")), scene(strength=0.0))
    assert all(conditioning.prompt_at(step) is conditioning.plain for step in range(4))


@pytest.mark.parametrize(
    ("strength", "steps", "expected"),
    [(1.0, 4, -1), (1.0, 1, -1), (0.8, 4, 0), (0.8, 50, 9), (0.5, 4, 1), (0.05, 4, 2), (0.05, 1, -1), (0.0, 4, 3)],
)
def test_strength_is_the_share_of_steps_with_identity(strength, steps, expected):
    assert merge_step(strength, steps) == expected


@pytest.mark.parametrize(
    ("prompt", "subject", "expected"),
    [
        ("portrait of a woman in a suit", "woman", "portrait of a woman img in a suit"),
        ("a Woman and another woman", "woman", "a Woman img and another woman"),
        ("a womanly figure, person", "woman", "photo of a woman img, a womanly figure, person"),
        ("in the snow", "man", "photo of a man img, in the snow"),
        ("a man img in the snow", "woman", "a man img in the snow"),
    ],
)
def test_the_trigger_goes_behind_the_person(prompt, subject, expected):
    assert place_trigger(prompt, subject) == expected


@pytest.mark.parametrize("prompt", ["a man img and a woman img", "img", "an imgur page of a man", "man imgs"])
def test_a_misplaced_trigger_is_refused(prompt):
    with pytest.raises(TriggerError, match="reserved") as refusal:
        place_trigger(prompt, "man")
    assert refusal.value.code == "prompt_reserved_word"


def test_a_prompt_over_the_budget_is_refused_with_the_numbers(folder):
    maker, _ = folder.maker("v2")
    with pytest.raises(
        TriggerError, match=r"needs 79 tokens \(73 for its words, 6 for the person\); 75 fit"
    ) as refusal:
        maker.check_scene(scene(prompt="photo of a man " + "photo " * 70), num_selfies=3)
    assert refusal.value.code == "prompt_too_long"
    assert refusal.value.limit == 75


def test_a_prompt_that_just_fits_keeps_its_end_of_text(folder):
    maker, _ = folder.maker("v2")
    prompt = "photo of a man " + "photo " * 66  # 70 words, two selfies of two tokens: 69 + 4 = 73
    maker.check_scene(scene(prompt=prompt), num_selfies=2)
    conditioning = maker.condition(maker.identity(*selfies(folder, 2, "v2")), scene(prompt=prompt))
    assert torch.isfinite(conditioning.personal.embeds).all()


def test_v2_refuses_embeddings_of_another_recogniser(folder):
    maker, _ = folder.maker("v2")
    pictures, faces = selfies(folder, 1, "v2")
    stranger = type(faces[0])(faces[0].box, faces[0].landmarks, 1.0, faces[0].embedding, "antelopev2")
    with pytest.raises(ValueError, match="needs face embeddings of golden, got antelopev2"):
        maker.identity(pictures, [stranger])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_weights_change_the_words_and_never_where_or_how_much_of_the_person_there_is(folder, version):
    maker, _ = folder.maker(version)
    identity = maker.identity(*selfies(folder, 1, version))
    plain = maker.condition(identity, scene())
    weighed = maker.condition(identity, scene(prompt="portrait photo of (a man img wearing a (hat:0.5):1.2)"))
    person = list(range(5, 5 + maker.tokens_per_picture))  # <start> portrait photo of a man
    after = person[-1] + 1
    assert torch.equal(weighed.personal.embeds[person], plain.personal.embeds[person])
    differs = (weighed.personal.embeds != plain.personal.embeds).any(dim=1).nonzero()[:, 0].tolist()
    assert differs == [4, after, after + 1, after + 2]
    assert torch.equal(weighed.personal.pooled, plain.personal.pooled)
    in_plain = (weighed.plain.embeds != plain.plain.embeds).any(dim=1).nonzero()[:, 0].tolist()
    assert in_plain == [4, 5, 6, 7, 8]


def test_a_weighed_negative_prompt_is_weighed(folder):
    maker, _ = folder.maker("v1")
    identity = maker.identity(*selfies(folder, 1, "v1"))
    negatives = [
        maker.condition(identity, scene(negative_prompt=words, guidance=5.0)).negative.embeds
        for words in ("a man wearing a hat", "a man (wearing a hat:1.4)")
    ]
    differs = (negatives[0] != negatives[1]).any(dim=1).nonzero()[:, 0].tolist()
    assert differs == [3, 4, 5]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("(a woman:1.3) in a suit", "(a woman img:1.3) in a suit"),
        ("a ((woman)) in a suit", "a ((woman img)) in a suit"),
        ("[a woman] in a suit", "[a woman img] in a suit"),
    ],
)
def test_the_trigger_goes_inside_the_brackets_of_its_word(prompt, expected):
    assert place_trigger(prompt, "woman") == expected
