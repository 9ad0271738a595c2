"""OpenAI's fields become ours, or a sentence."""

import msgspec
import pytest

from models.wire.groups import Delivery, Sampling
from scripts.fronts.fake_worker import BUNDLE
from service.api.body.limits import UploadLimits
from service.api.openai.fields import read_images_request, steps_of
from service.api.openai.reading import read_entries
from service.api.openai.stream import steps_with_partials
from service.api.sizes import nearest_size
from service.errors import ServiceError

SIZES = [(1024, 1024), (896, 1152), (832, 1216), (768, 768)]
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def form_of(*, from_text=True, **fields):
    return read_images_request({"prompt": "a photo of a woman", **fields}, from_text=from_text).form(BUNDLE)


def test_the_fields_of_openai_become_ours():
    fields = {
        "n": "2", "size": "1024x1536", "quality": "high", "output_format": "webp", "output_compression": "80",
        "input_fidelity": "high", "model": "instantid", "stream": "true", "partial_images": "2", "user": "u-1",
        "background": "opaque", "response_format": "b64_json", "seed": "7", "subject": "woman",
    }  # fmt: skip
    form = form_of(**fields)
    assert (form.prompt, form.n, form.adapter) == ("a photo of a woman", 2, "instantid")
    assert (form.seed, form.subject) == (7, "woman")
    assert form.sampling == Sampling(size="256x320", steps=8, strength=1.0)
    assert form.delivery == Delivery(format="webp", quality=80, previews=True)


def test_what_is_left_out_is_as_openai_has_it():
    form = form_of()
    assert (form.n, form.adapter, form.sampling) == (1, None, Sampling())
    assert form.delivery == Delivery(format="png", quality=100)


def test_ours_win_over_what_openai_can_only_hint_at():
    form = form_of(quality="low", steps="7", input_fidelity="high", strength="0.3", model="fake", adapter="instantid")
    assert (form.sampling.steps, form.sampling.strength, form.adapter) == (7, 0.3, "instantid")


def test_numbers_in_json_are_numbers():
    assert form_of(from_text=False, n=2, stream=True, partial_images=1).n == 2
    with pytest.raises(ServiceError) as error:
        form_of(from_text=False, n="2")
    assert error.value.message.startswith("The field 'n' is '2' in quotes, and JSON writes it without: it must be")


def test_null_in_json_is_left_out():
    assert form_of(from_text=False, n=None, model=None, size=None).n == 1


def test_a_style_stands_in_for_the_prompt():
    form = form_of(prompt="", style="corporate")
    assert (form.prompt, form.style) == (None, "corporate")


@pytest.mark.parametrize(
    ("wanted", "made"),
    [("1024x1024", "1024x1024"), ("512x512", "768x768"), ("1024x1536", "832x1216"), ("1536x1024", "1024x1024")],
)
def test_a_size_becomes_the_made_one_of_the_nearest_shape(wanted, made):
    assert nearest_size(wanted, SIZES) == made


@pytest.mark.parametrize(("quality", "steps"), [("low", 2), ("medium", None), ("high", 8), ("xhigh", 12), ("max", 16)])
def test_quality_is_paid_in_steps(quality, steps):
    assert steps_of(quality, BUNDLE) == steps


def test_quality_stays_within_the_bundle():
    assert steps_of("max", msgspec.structs.replace(BUNDLE, max_steps=8)) == 8


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"prompt": ""}, "field_missing", "prompt"),
        ({"prompt": "x" * 2001}, "invalid_field", "prompt"),
        ({"n": "0"}, "invalid_field", "n"),
        ({"n": "11"}, "invalid_field", "n"),
        ({"n": "two"}, "invalid_field", "n"),
        ({"size": "1024"}, "invalid_field", "size"),
        ({"quality": "best"}, "invalid_field", "quality"),
        ({"output_format": "gif"}, "format_unsupported", "output_format"),
        ({"output_format": "svg"}, "format_unsupported", "output_format"),
        ({"output_format": "bmp"}, "invalid_field", "output_format"),
        ({"output_compression": "101", "output_format": "webp"}, "invalid_field", "output_compression"),
        ({"output_compression": "50"}, "compression_of_png", "output_compression"),
        ({"background": "transparent"}, "background_unsupported", "background"),
        ({"input_fidelity": "medium"}, "invalid_field", "input_fidelity"),
        ({"partial_images": "4", "stream": "true"}, "invalid_field", "partial_images"),
        ({"partial_images": "1"}, "partials_need_stream", "partial_images"),
        ({"stream": "maybe"}, "invalid_field", "stream"),
        ({"response_format": "png"}, "invalid_field", "response_format"),
        ({"model": "gpt-image-2"}, "model_not_found", "model"),
        ({"mask": "x"}, "unsupported_field", "mask"),
        ({"svg[a]": "x"}, "unsupported_field", "svg[a]"),
        ({"frame_count": "2"}, "unsupported_field", "frame_count"),
        ({"url": "https://example.org/a.jpg"}, "unsupported_field", "url"),
        ({"promt": "x"}, "unknown_field", "promt"),
        ({"format": "png"}, "unknown_field", "format"),
        ({"style": "corporate"}, "style_and_prompt", "style"),
        ({"seed": "-1"}, "invalid_field", "seed"),
        ({"user": "x" * 513}, "invalid_field", "user"),
        ({"lora_scale": "1"}, "lora_missing", "lora"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_name(fields, code, field):
    with pytest.raises(ServiceError) as error:
        form_of(**fields)
    assert (error.value.code, error.value.extra["field"]) == (code, field)
    assert error.value.message.endswith((".", "?"))


def test_a_prompt_is_never_quoted():
    with pytest.raises(ServiceError) as error:
        form_of(prompt="secret\x07")
    assert "secret" not in error.value.message
    assert "control characters" in error.value.message


@pytest.mark.parametrize(
    ("entries", "code"),
    [
        (None, "image_missing"),
        ([], "image_missing"),
        ("data:image/png;base64,AA==", "image_missing"),
        ([{"image_url": "https://example.org/me.jpg"}], "image_not_inline"),
        ([{"image_url": "http://169.254.169.254/"}], "image_not_inline"),
        ([{"file_id": "file-1"}], "file_id_unsupported"),
        ([{"image_url": "data:image/png;base64"}], "image_not_inline"),
        ([{"image_url": "data:image/png;base64,a b"}], "image_not_base64"),
        ([{"image_url": "data:image/png;base64,abc"}], "image_not_base64"),
        ([{"image_url": "data:image/png;base64,"}], "image_missing"),
        ([{"image_url": "iVBORw0KGgo="}], "image_not_inline"),
        ([{"image_url": 5}], "invalid_field"),
        ([{}], "invalid_field"),
        (["x"], "invalid_field"),
        ([{"image_url": PIXEL}] * 9, "too_many_images"),
        ([{"image_url": "data:image/png;base64," + "A" * 200}], "image_too_many_bytes"),
    ],
)
def test_wrong_pictures_in_json_are_refused(entries, code):
    with pytest.raises(ServiceError) as error:
        read_entries(entries, UploadLimits(max_image_bytes=100))
    assert error.value.code == code


def test_pictures_in_json_are_read():
    assert read_entries([{"image_url": PIXEL}] * 2, UploadLimits()) == [b"\x89PNG\r\n\x1a\n"] * 2


@pytest.mark.parametrize(
    ("count", "steps", "after"),
    [(0, 4, []), (1, 4, [2]), (2, 4, [2, 3]), (3, 4, [1, 2, 3]), (3, 1, []), (3, 30, [8, 15, 23])],
)
def test_partials_are_spread_over_the_steps(count, steps, after):
    assert steps_with_partials(count, steps) == after
