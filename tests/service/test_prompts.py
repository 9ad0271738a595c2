"""A caller's own words on every surface: the class word that they name, and the weights that they give."""

import pytest

from tests.service.clients import PICTURE
from tests.service.harness import JPEG, SELFIE, build_service, client_of

IMAGE = {"image": ("me.jpg", SELFIE, "image/jpeg")}


def portraits_form(client, **words):
    return client.post("/v1/portraits", files=IMAGE, data=words)


def portraits_query(client, **words):
    return client.post("/v1/portraits", params=words, content=SELFIE, headers=JPEG)


def openai_form(client, **words):
    return client.post("/v1/images/edits", files=IMAGE, data=words)


def openai_json(client, **words):
    return client.post("/v1/images/edits", json={"images": [{"image_url": PICTURE}], **words})


def prediction(client, path, picture, **words):
    body = {"input": {picture: PICTURE, **words}}
    return client.post(path, json=body, headers={"Prefer": "wait=10"})


def replicate_photomaker(client, **words):
    path = "/v1/models/tencentarc/photomaker/predictions"
    return prediction(client, path, "input_image", style_name="(No style)", **words)


def replicate_instant_id(client, **words):
    return prediction(client, "/v1/models/zsxkib/instant-id/predictions", "image", **words)


def replicate_own(client, **words):
    return prediction(client, "/v1/models/proofsheet/portraits/predictions", "image", **words)


def cog(client, **words):
    return prediction(client, "/predictions", "input_image", style_name="(No style)", **words)


SURFACES = [
    portraits_form, portraits_query, openai_form, openai_json,
    replicate_photomaker, replicate_instant_id, replicate_own, cog,
]  # fmt: skip


async def asked_all(surface, *questions, service=None):
    """For each of them the answer, and the words that reached the worker, if any did; all in one service."""
    service, found = service or build_service(), []
    async with client_of(service) as client:
        for words in questions:
            before = len(service.fakes[0].orders)
            answer = await surface(client, **words)
            orders = service.fakes[0].orders[before:]
            found.append((answer, orders[0].words if orders else None))
    return found


async def asked(surface, **words):
    [found] = await asked_all(surface, words)
    return found


def code_of(answer):
    """Whatever the surface's shape of a refusal."""
    body = answer.json()
    if isinstance(body.get("error"), dict):
        return body["error"]["code"]
    return body["code"] if "code" in body else body["detail"][0]["type"]


@pytest.mark.parametrize("surface", SURFACES)
async def test_the_class_word_of_a_prompt_is_its_subject_on_every_surface(surface):
    expected = {
        "a man img playing guitar": ("a man playing guitar", "man"),
        "photo of a Woman beside a man": ("photo of a Woman beside a man", "woman"),
        "oil painting of a gentleman": ("oil painting of a gentleman", "gentleman"),
    }
    found = await asked_all(surface, *({"prompt": prompt} for prompt in expected))
    assert [(words.prompt, words.subject) for _, words in found] == list(expected.values())
    assert all(answer.is_success for answer, _ in found)


async def test_the_subject_is_what_prompt_and_field_say_together():
    nobody = "a womanly figure on humankind's day"
    expected = {
        ("a man img playing guitar", "person"): ("a man playing guitar", "man"),
        ("a woman beside a man img", "woman"): ("a woman beside a man", "man"),
        ("a (man:1.2) img in the snow", "person"): ("a (man:1.2) in the snow", "man"),
        ("a ((man)) img", "person"): ("a ((man))", "man"),
        ("a wizard img", "man"): ("a wizard man", "man"),
        ("a woman beside a man", "man"): ("a woman beside a man", "man"),
        (nobody, "person"): (f"portrait photo of a person, {nobody}", "person"),
        ("a {subject} beside a woman", "man"): ("a man beside a woman", "man"),
        ("in the snow", "lady"): ("portrait photo of a lady, in the snow", "lady"),
        ("a woman in the snow", "man"): ("portrait photo of a man, a woman in the snow", "man"),
    }
    questions = [{"prompt": prompt, "subject": subject} for prompt, subject in expected]
    found = await asked_all(portraits_form, *questions)
    assert [(words.prompt, words.subject) for _, words in found] == list(expected.values())


@pytest.mark.parametrize("surface", [portraits_form, openai_json, replicate_own])
async def test_a_trigger_word_that_stands_twice_is_refused(surface):
    answer, words = await asked(surface, prompt="a man img and a woman img")
    assert (code_of(answer), words) == ("prompt_reserved_word", None)


@pytest.mark.parametrize("surface", SURFACES)
async def test_what_is_no_weight_is_refused_by_name_on_every_surface(surface):
    expected = {
        "a man, <lora:film:0.8>": "prompt_command",
        "a man BREAK red coat": "prompt_command",
        "a man (red coat": "prompt_syntax",
        "a man (red coat:1,3)": "prompt_syntax",
        "a man (red coat:9)": "prompt_weight_out_of_bounds",
    }
    found = await asked_all(surface, *({"prompt": prompt} for prompt in expected))
    assert [(code_of(answer), words) for answer, words in found] == [(code, None) for code in expected.values()]
    assert {answer.status_code for answer, _ in found} == {400 if surface in SURFACES[:4] else 422}


@pytest.mark.parametrize("surface", SURFACES)
async def test_weights_reach_the_worker_as_they_were_written(surface):
    prompt, negative = "a man in a (red coat:1.3), [snow]", "(worst quality:1.4)"
    answer, words = await asked(surface, prompt=prompt, negative_prompt=negative)
    assert answer.is_success, answer.text
    assert (words.prompt, words.negative_prompt) == (prompt, negative)


async def test_a_negative_prompt_s_fault_is_its_own():
    answer, _ = await asked(portraits_form, prompt="a man", negative_prompt="(worst quality:3)")
    body = answer.json()
    assert (body["code"], body["field"]) == ("prompt_weight_out_of_bounds", "negative_prompt")
    assert (body["value"], body["limit"]) == (3, 2)


@pytest.mark.parametrize("surface", SURFACES)
async def test_refused_words_are_refused_before_anything_is_drawn_on_every_surface(surface):
    prompts = (
        "a nude man img",
        "photo of a schoolgirl",
        "a woman, 12 year old",
        "a man in s3xy clothes",
        "a (nu)(de) man",
    )
    found = await asked_all(surface, *({"prompt": prompt} for prompt in prompts))
    assert [(code_of(answer), words) for answer, words in found] == [("content_refused", None)] * len(prompts)
    assert {answer.status_code for answer, _ in found} == {400 if surface in SURFACES[:4] else 422}
    assert not any(word in answer.text for answer, _ in found for word in ("schoolgirl", "s3xy", "12 year"))


@pytest.mark.parametrize("surface", SURFACES)
async def test_words_that_keep_something_out_are_no_matter(surface):
    prompt = "photo of a man from Essex in kid leather"
    answer, words = await asked(surface, prompt=prompt, negative_prompt="nude, child, nsfw")
    assert answer.is_success, answer.text
    assert (words.prompt, words.negative_prompt) == (prompt, "nude, child, nsfw")


@pytest.mark.parametrize("subject", ["girl", "boy", "child", "Schoolgirl", "nude woman"])
async def test_a_subject_is_held_to_the_same_words(subject):
    answer, words = await asked(portraits_form, style="corporate", subject=subject)
    assert (answer.json()["code"], answer.json()["field"], words) == ("content_refused", "subject", None)


async def test_a_refused_prompt_is_counted_and_neither_logged_nor_kept(caplog):
    service = build_service()
    await asked_all(portraits_form, {"prompt": "a nude woman"}, service=service)
    assert service.figure("rejections_total", reason="content_refused") == 1
    assert "nude" not in caplog.text
    assert b"nude" not in service.metrics.page()


async def test_subjects_that_are_refused_are_not_offered():
    async with client_of(build_service()) as client:
        subjects = (await client.get("/v1/styles")).json()["subjects"]
    assert {"person", "woman", "man"} <= set(subjects)
    assert not {"girl", "boy"} & set(subjects)
