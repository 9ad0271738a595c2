"""Content negotiation, as a table."""

import pytest

from service.api.accept import choose_form
from service.errors import NotAcceptable
from tests.service.clients import PICTURE, one
from tests.service.harness import JPEG, SELFIE, build_service

NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
OLD_NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


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
        (NAVIGATION, "json"),
        (OLD_NAVIGATION, "json"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "image"),
        ("application/json, text/plain, */*", "json"),
        ("text/html;q=0.5, image/png", "image"),
    ],
)
def test_the_best_range_decides(header, form):
    assert choose_form(header).forms[0] == form


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
    assert choose_form(header).form_for(1, image_format) == "image"


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
        choose_form(header).form_for(1, image_format)


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
        ("image/jpg", "jpeg"),
        ("image/avif;q=1, image/png;q=0.5", "png"),
        ("image/png ; q = 0.4, image/webp; q=0.6", "webp"),
        (NAVIGATION, None),
    ],
)
def test_the_best_image_type_is_the_format_where_the_field_is_left_out(header, named):
    assert choose_form(header).defaults == ({} if named is None else {"format": named})


@pytest.mark.parametrize(
    ("header", "num_images", "image_format", "form"),
    [
        ("image/png, application/json;q=0.5", 2, "png", "json"),
        ("image/png, application/json;q=0.5", 1, "jpeg", "json"),
        ("image/*, text/event-stream;q=0.9, */*;q=0.1", 2, "jpeg", "events"),
        ("image/avif, image/*, */*;q=0.8", 3, "jpeg", "json"),
        ("image/webp, */*;q=0.1", 1, "png", "image"),
        (NAVIGATION, 2, "webp", "json"),
    ],
)
def test_where_a_range_can_not_be_had_the_next_one_is_tried(header, num_images, image_format, form):
    assert choose_form(header).form_for(num_images, image_format) == form


@pytest.mark.parametrize("header", ["text/html", "text/html, */*;q=0", "text/html, image/gif"])
def test_a_page_that_may_not_be_json_can_not_be_had(header):
    with pytest.raises(NotAcceptable):
        choose_form(header)


@pytest.mark.parametrize(("header", "num_images"), [("image/png", 2), ("image/*, text/html", 2)])
def test_several_pictures_are_refused_where_nothing_else_is_accepted(header, num_images):
    with pytest.raises(NotAcceptable, match="one_image_only"):
        choose_form(header).form_for(num_images, "png")


@pytest.mark.parametrize("headers", [{}, {"Accept": "image/png"}, {"Accept": "text/html"}, {"Prefer": "respond-async"}])
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/portraits", {"content": SELFIE, "headers": JPEG}),
        ("/v1/finals", {"json": {"proof": "proof.of-a-picture"}}),
        ("/predictions", {"json": {"input": {"image": PICTURE, "prompt": "a woman"}}}),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
async def test_an_answer_that_depends_on_accept_or_prefer_says_so_whichever_it_is(path, sent, headers):
    service = build_service(cog_model="proofsheet/portraits")
    answer = await one("POST", path, service=service, **sent | {"headers": sent.get("headers", {}) | headers})
    assert answer.headers["vary"] == "Accept, Prefer"


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text"])
async def test_the_page_of_metrics_depends_on_accept(accept):
    assert (await one("GET", "/metrics", headers={"Accept": accept})).headers["vary"] == "Accept"
