"""What the inputs of other people's models become here."""

import msgspec
import pytest

from models.wire.groups import Delivery, Placing, Sampling
from scripts.fronts.fake_worker import BUNDLE
from service.api.replicate.catalogue import INSTANT_ID, OWN, PHOTOMAKER, PublishedModels
from service.api.replicate.photomaker import place_subject
from service.errors import ServiceError

PICTURE = "data:image/png;base64,iVBORw0KGgo="
ADAPTERS = [msgspec.structs.replace(BUNDLE.adapters[0], name=name) for name in ("photomaker", "photomaker-v2")]
QUICK = msgspec.structs.replace(BUNDLE, adapters=ADAPTERS, max_steps=8, default_guidance=1.0)
GUIDED = msgspec.structs.replace(QUICK, default_guidance=5.0, max_steps=50)


def photomaker(bundle=QUICK, **inputs):
    return PHOTOMAKER.read({"input_image": PICTURE, "prompt": "a photo of a man img", **inputs}, bundle)


def instant_id(bundle=QUICK, **inputs):
    return INSTANT_ID.read({"image": PICTURE, **inputs}, bundle)


def test_the_input_of_the_published_example_of_photomaker_is_taken():
    got = photomaker(
        input_image2=PICTURE,
        prompt="A photo of a scientist img receiving the Nobel Prize",
        negative_prompt="nsfw, lowres",
        num_steps=50,
        style_name="(No style)",
        style_strength_ratio=35,
        num_outputs=2,
        guidance_scale=5,
        seed=1234,
        disable_safety_checker=True,
    )
    assert got.form.prompt == "A photo of a scientist person receiving the Nobel Prize"
    assert (got.form.subject, got.form.n, got.form.seed, got.form.sampling.strength) == ("person", 2, 1234, 0.65)
    assert (got.form.sampling.steps, got.form.sampling.guidance, got.form.adapter) == (8, None, "photomaker")
    assert got.notes == ["num_steps 50: this model is made for 4 steps; it makes 8."]
    assert [name for name, _ in got.selfies] == ["input_image", "input_image2"]


def test_the_successor_stands_in_for_photomaker_where_only_it_is_warm():
    got = photomaker(BUNDLE)
    assert got.form.adapter == "photomaker-v2"
    assert got.notes == ["photomaker is not loaded here: made with photomaker-v2."]


def test_their_defaults_are_the_bundles_own():
    form = photomaker(num_steps=20, guidance_scale=5, style_strength_ratio=20).form
    assert (form.sampling.steps, form.sampling.guidance, form.sampling.strength) == (None, None, None)


def test_guidance_is_kept_where_the_bundle_is_made_for_it():
    assert photomaker(GUIDED, guidance_scale=7.5, num_steps=30).form.sampling.guidance == 7.5
    assert photomaker(QUICK, guidance_scale=7.5).form.sampling.guidance is None


@pytest.mark.parametrize(
    ("prompt", "placed", "subject"),
    [
        ("a photo of a man img", "a photo of a man", "man"),
        ("a photo of a Woman IMG, smiling", "a photo of a Woman, smiling", "woman"),
        ("img in a suit", "person in a suit", "person"),
        ("a wizard img", "a wizard person", "person"),
        ("a girl in red", "a girl in red", "girl"),
        ("sunset", "sunset", "person"),
        ("an imgur page of a boy", "an imgur page of a boy", "boy"),
    ],
)
def test_the_trigger_word_marks_the_person_and_leaves_the_prompt(prompt, placed, subject):
    assert place_subject(prompt) == (placed, subject)


def test_a_style_of_theirs_is_put_around_the_prompt():
    assert "a photo of a man" in photomaker(style_name="Line art").form.prompt
    assert photomaker(style_name="Line art").form.prompt.startswith("line drawing")


def test_every_style_leaves_room_for_a_prompt():
    styles = PHOTOMAKER.input_schema["properties"]["style_name"]["enum"]
    assert len(styles) == 11
    assert all(len(photomaker(style_name=name, prompt="img").form.prompt.split()) <= 12 for name in styles)


def test_the_defaults_of_instant_id_are_ours_where_we_have_our_own():
    form = instant_id().form
    assert form.sampling == Sampling()
    assert form.placing == Placing(framing="selfie", region="face")
    assert form.delivery == Delivery(format="webp", quality=80)


def test_the_inputs_of_instant_id_that_map_do():
    got = instant_id(
        pose_image=PICTURE,
        prompt="a woman in a coat",
        ip_adapter_scale=0.6,
        controlnet_conditioning_scale=0.5,
        enhance_nonface_region=False,
        output_format="jpg",
        output_quality=0,
        num_outputs=3,
        width=640,
        height=800,
        enable_lcm=True,
        lcm_num_inference_steps=6,
        lcm_guidance_scale=2,
    )
    form = got.form
    assert form.sampling == Sampling(size="256x320", steps=6, sampler="lcm", guidance=2, strength=0.6)
    assert form.placing == Placing(control_strength=0.5, region="picture")
    assert form.delivery == Delivery(format="jpeg", quality=1)
    assert (form.n, form.subject) == (3, "woman")
    assert got.pose == ("pose_image", PICTURE)
    assert got.notes == ["640x800: the nearest size that this model makes is 256x320."]


def test_our_own_model_takes_every_field_of_a_portrait():
    got = OWN.read({"images": [PICTURE, PICTURE], "style": "corporate", "n": 2, "pose": PICTURE}, BUNDLE)
    assert (got.form.style, got.form.n, got.pose) == ("corporate", 2, ("pose", PICTURE))
    assert [name for name, _ in got.selfies] == ["images[0]", "images[1]"]


@pytest.mark.parametrize(
    ("model", "inputs", "code", "field"),
    [
        (PHOTOMAKER, {"input_image": None}, "field_missing", "input_image"),
        (PHOTOMAKER, {"input_image": 5}, "invalid_field", "input_image"),
        (PHOTOMAKER, {"prompt": "a man img and a woman img"}, "input_unsupported", "prompt"),
        (PHOTOMAKER, {"negative_prompt": "img"}, "input_unsupported", "negative_prompt"),
        (PHOTOMAKER, {"num_steps": 101}, "invalid_field", "num_steps"),
        (PHOTOMAKER, {"num_outputs": 5}, "invalid_field", "num_outputs"),
        (PHOTOMAKER, {"guidance_scale": 11}, "invalid_field", "guidance_scale"),
        (PHOTOMAKER, {"style_name": "Anime"}, "invalid_field", "style_name"),
        (PHOTOMAKER, {"style_strength_ratio": 10}, "invalid_field", "style_strength_ratio"),
        (PHOTOMAKER, {"seed": -1}, "invalid_field", "seed"),
        (PHOTOMAKER, {"seed": True}, "invalid_field", "seed"),
        (PHOTOMAKER, {"num_step": 5}, "unknown_field", "num_step"),
        (INSTANT_ID, {"image": None}, "field_missing", "image"),
        (INSTANT_ID, {"ip_adapter_scale": 1.2}, "input_unsupported", "ip_adapter_scale"),
        (INSTANT_ID, {"controlnet_conditioning_scale": 1.5}, "input_unsupported", "controlnet_conditioning_scale"),
        (INSTANT_ID, {"sdxl_weights": "dreamshaper-xl"}, "input_unsupported", "sdxl_weights"),
        (INSTANT_ID, {"scheduler": "HeunDiscreteScheduler"}, "input_unsupported", "scheduler"),
        (INSTANT_ID, {"enable_canny_controlnet": True}, "input_unsupported", "enable_canny_controlnet"),
        (INSTANT_ID, {"enable_depth_controlnet": True}, "input_unsupported", "enable_depth_controlnet"),
        (INSTANT_ID, {"pose_strength": 0.9}, "input_unsupported", "pose_strength"),
        (INSTANT_ID, {"output_format": "gif"}, "invalid_field", "output_format"),
        (OWN, {"style": "corporate"}, "image_missing", "image"),
        (OWN, {"image": PICTURE, "previews": True}, "unknown_field", "previews"),
        (OWN, {"images": []}, "invalid_field", "images"),
        (OWN, {"image": PICTURE, "style": "corporate", "prompt": "a man"}, "style_and_prompt", "style"),
        (OWN, {"image": PICTURE, "lora_scale": 1}, "lora_missing", "lora"),
    ],
)  # fmt: skip
def test_what_can_not_be_had_is_refused_with_422_and_a_sentence(model, inputs, code, field):
    needed = {PHOTOMAKER.id: {"input_image": PICTURE}, INSTANT_ID.id: {"image": PICTURE}, OWN.id: {}}[model.id]
    with pytest.raises(ServiceError) as error:
        model.read(needed | inputs, BUNDLE)
    assert (error.value.status, error.value.code, error.value.extra["field"]) == (422, code, field)
    assert error.value.message.endswith((".", "?"))


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("ddfc2b08d209f9fa8c1eca692712918bd449f695dabb4a958da31802a9570fe4", "tencentarc/photomaker"),
        ("tencentarc/photomaker", "tencentarc/photomaker"),
        ("zsxkib/instant-id:491ddf5be6b827f8931f088ef10c6d015f6d99685e6454e6f04c8ac298979686", "zsxkib/instant-id"),
        ("proofsheet/portraits:1", "proofsheet/portraits"),
    ],
)
def test_a_version_is_found_by_its_hash_or_by_its_models_name(text, model):
    found, version = PublishedModels().of_version(text)
    assert found.id == model
    assert version in found.versions


@pytest.mark.parametrize("text", ["0" * 64, "", ":", "stability-ai/sdxl", "tencentarc/photomaker:0000", "a/b:c:d"])
def test_an_unknown_version_is_refused_with_the_known_models(text):
    with pytest.raises(ServiceError) as error:
        PublishedModels().of_version(text)
    assert (error.value.status, error.value.code) == (422, "version_unknown")


@pytest.mark.parametrize("model", list(PublishedModels()), ids=lambda model: model.id)
def test_every_schema_says_what_its_fields_must_be(model):
    assert all("description" in str(schema) or "enum" in schema for schema in model.input_schema["properties"].values())
    assert model.openapi_schema["components"]["schemas"]["Output"]["items"]["format"] == "uri"
