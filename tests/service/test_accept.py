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


@pytest.mark.parametrize(("header", "image_format"), [("image/*", "png"), ("image/jpeg, image/webp", "webp")])
def test_an_image_of_an_accepted_type_is_fine(header, image_format):
    choose_form(header).check(1, image_format)
