"""The catalogue of styles, and the errors of a file that an operator wrote."""

import pytest

from service.errors import BadRequest
from service.styles import MAX_WORDS, SUBJECTS, StylesError, load_styles

GOOD = """
[[style]]
name = "corporate"
title = "Corporate"
description = "Suit."
prompt = "portrait photo of a {subject} wearing a suit"
"""


def load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_styles(path)


def test_the_built_in_file_has_at_least_twelve_styles_with_the_named_ones():
    styles = load_styles()
    names = [style.name for style in styles]
    assert len(styles) >= 12
    wanted = {"corporate", "business-casual", "creative", "formal", "academic", "outdoor", "studio-black-and-white"}
    assert wanted <= set(names)


@pytest.mark.parametrize("style", list(load_styles()), ids=lambda style: style.name)
def test_every_built_in_style_reads_well_with_every_subject(style):
    for subject in SUBJECTS:
        prompt = style.prompt_for(subject)
        assert f" a {subject} wearing a" in prompt
        assert "{" not in prompt
        assert "portrait" in prompt


def test_no_name_means_the_default(tmp_path):
    assert load(tmp_path, GOOD).find(None).name == "corporate"


def test_an_unknown_style_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BadRequest) as refusal:
        load(tmp_path, GOOD).find("magic")
    assert refusal.value.code == "unknown_style"
    assert refusal.value.extra["allowed"] == ["corporate"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("style = 3", "wanted a list of"),
        ("[[style", "can't be read"),
        ("", "wanted a list of"),
        (GOOD + GOOD, "style 'corporate': the name is used twice"),
        (GOOD.replace("{subject}", "person"), r"style 'corporate': the prompt has \{subject\} 0 times"),
        (GOOD.replace("suit", "{subject}"), r"style 'corporate': the prompt has \{subject\} 2 times"),
        (GOOD.replace("a suit", "word " * MAX_WORDS), "style 'corporate': the prompt has 66 words, at most 60"),
        (GOOD.replace('title = "Corporate"', ""), "style 'corporate': Object missing required field `title`"),
        (GOOD + "colour = 1", "style 'corporate': Object contains unknown field `colour`"),
        (GOOD + "strength = 2.0", "style 'corporate': Expected `float` <= 1"),
        (GOOD.replace('"corporate"', '"Corporate Look"'), "lower-case words joined by hyphens"),
        (GOOD.replace('"corporate"', '"formal"'), "the default style 'corporate' is not in it"),
    ],
)
def test_a_wrong_file_is_refused_with_file_entry_and_reason(tmp_path, text, reason):
    with pytest.raises(StylesError, match=reason) as refusal:
        load(tmp_path, text)
    assert "mine.toml" in str(refusal.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(StylesError, match=r"nowhere\.toml: can't be read"):
        load_styles(tmp_path / "nowhere.toml")
