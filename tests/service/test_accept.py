"""Content negotiation, as a table."""

import pytest

from service.api.accept import choose_form
from service.errors import NotAcceptable


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("application/*", "json"),
        ("text/event-stream", "events"),
        ("image/*", "image"),
        ("image/webp", "image"),
        ("IMAGE/PNG", "image"),
        ("image/*, */*;q=0.8", "image"),
        ("*/*, image/*;q=0.8", "json"),
        ("*/*, text/event-stream", "events"),
        ("application/json;q=0.5, image/png;q=0.9", "image"),
        ("text/html, application/json;q=0.1", "json"),
        ("image/*;q=nonsense", "image"),
        ("image/png;q=0, application/json", "json"),
    ],
)
def test_the_best_range_decides(header, form):
    assert choose_form(header).form == form


@pytest.mark.parametrize("header", ["text/html", "application/json;q=0", "image/gif", ";;,,"])
def test_nothing_acceptable_is_refused_with_what_there_is(header):
    with pytest.raises(NotAcceptable) as refusal:
        choose_form(header)
    assert "text/event-stream" in refusal.value.extra["allowed"]


@pytest.mark.parametrize(
    ("header", "image_format"),
    [
        ("image/*", "png"),
        ("image/jpeg, image/webp", "webp"),
        ("image/webp, */*;q=0.1", "png"),
        ("image/webp, image/*;q=0.1", "jpeg"),
    ],
)
def test_an_image_of_an_accepted_type_is_fine(header, image_format):
    choose_form(header).refuse_unfit(1, image_format)


@pytest.mark.parametrize(
    ("header", "image_format"),
    [
        ("image/png", "jpeg"),
        ("image/webp, image/png;q=0.5", "jpeg"),
        ("image/*, image/png;q=0", "png"),
        ("image/jpeg, */*;q=0", "webp"),
    ],
)
def test_an_image_of_a_type_that_is_left_out_is_refused(header, image_format):
    with pytest.raises(NotAcceptable, match="format_not_accepted"):
        choose_form(header).refuse_unfit(1, image_format)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("image/png", "png"),
        ("image/webp", "webp"),
        ("image/jpeg", "jpeg"),
        ("image/png, image/webp", "png"),
        ("image/png;q=0.5, image/webp;q=0.9", "webp"),
        ("image/avif, image/webp, image/*;q=0.5", "webp"),
        ("image/*;q=0.9, image/png;q=0.5, application/json;q=0.1", None),
        ("image/*", None),
        ("image/*, image/jpeg;q=0", "webp"),
        ("image/*;q=0.5, image/jpeg;q=0, image/webp;q=0.2, application/json;q=0.1", "png"),
        ("application/json, image/png;q=0.5", None),
        ("text/event-stream, image/png;q=0.5", None),
        ("*/*", None),
        (None, None),
    ],
)
def test_the_best_image_type_is_the_format_where_the_field_is_left_out(header, named):
    assert choose_form(header).defaults == ({} if named is None else {"format": named})
