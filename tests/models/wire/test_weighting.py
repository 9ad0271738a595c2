"""The syntax of weights: what stable-diffusion-webui's users write, and what is refused of it."""

import contextlib

import pytest

from models.wire.weighting import MAX_WEIGHT, PromptSyntaxError, spans, words_of


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("", [("", 1.0)]),
        ("a photo: at 12:30", [("a photo: at 12:30", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("a man (smiling)", [("a man ", 1.0), ("smiling", 1.1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        (r"a \\ b", [("a \\ b", 1.0)]),
        ("(lowres, worst quality:1.2), (text:1.2)", [("lowres, worst quality", 1.2), (", ", 1.0), ("text", 1.2)]),
        ("[(nested:1.4) down]", [("nested", 1.2727272727), (" down", 0.9090909091)]),
        ("((a)(b:0.7))", [("a", 1.21), ("b", 0.77)]),
        ("(a [b])", [("a ", 1.1), ("b", 1.0)]),
        ("(x: 1.3 )(y:.5)", [("x", 1.3), ("y", 0.5)]),
        ("(title: hello)", [("title: hello", 1.1)]),
        ("(gone:0)", [("gone", 0.0)]),
        ("((((((x))))))", [("x", 1.1**6)]),
    ],
)
def test_brackets_weigh_what_they_hold(prompt, expected):
    """Most are recorded from a reference parser of this grammar."""
    found = spans(prompt)
    assert [span.text for span in found] == [text for text, _ in expected]
    assert [span.weight for span in found] == pytest.approx([weight for _, weight in expected])


def test_the_words_are_what_is_left():
    assert words_of(r"(a man:1.2) in [a (red) coat] \(front\)") == "a man in a red coat (front)"


@pytest.mark.parametrize("prompt", ["(open", "closed)", "[a", "a]", "(a]", "[a)", "((a)", ":)", "x:1.5)", "[x:1.2)"])
def test_an_unbalanced_bracket_is_named_with_its_place_and_the_way_to_write_it_as_text(prompt):
    with pytest.raises(PromptSyntaxError, match=r"character \d+.*backslash") as refusal:
        spans(prompt)
    assert refusal.value.code == "prompt_syntax"
    assert 1 <= refusal.value.value <= len(prompt)


@pytest.mark.parametrize("prompt", ["(x:1,3)", "(x:1.2.3)", "(x:--1)", "(x:+)", "(x:1" + "0" * 400 + ")"])
def test_a_weight_that_is_no_number_is_not_read_as_text(prompt):
    with pytest.raises(PromptSyntaxError, match="no number"):
        spans(prompt)


@pytest.mark.parametrize(
    ("prompt", "value", "limit"),
    [("(x:3)", 3, MAX_WEIGHT), ("(x:-1)", -1, 0), ("((x:1.5):1.5)", 2.25, MAX_WEIGHT), ("(at 12:30)", 30, MAX_WEIGHT)],
)
def test_a_weight_out_of_bounds_comes_with_the_limit(prompt, value, limit):
    with pytest.raises(PromptSyntaxError, match="from 0 to 2") as refusal:
        spans(prompt)
    assert refusal.value.code == "prompt_weight_out_of_bounds"
    assert (refusal.value.value, refusal.value.limit) == (pytest.approx(value), limit)


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("a man <lora:film:0.8>", "fields 'lora'"),
        ("<LoRA:a>", "fields 'lora'"),
        ("< lyco : x>", "fields 'lora'"),
        ("<hypernet:x:1>", "fields 'lora'"),
        ("a man BREAK a coat", "BREAK"),
        ("a man AND a coat", "AND"),
        ("[day:night:0.5]", "from:to:when"),
        ("a [coat:0.5]", "from:to:when"),
        ("a [red|blue] coat", "one|other"),
        ("a {red|blue} coat", "one|other"),
        ("embedding:easynegative", "embedding:"),
    ],
)
def test_a_command_of_another_program_is_refused_by_name(prompt, name):
    with pytest.raises(PromptSyntaxError) as refusal:
        spans(prompt)
    assert name in str(refusal.value)
    assert refusal.value.code == "prompt_command"


@pytest.mark.parametrize(
    "prompt", ["A MAN ON A LUNCH BREAK", "A MAN AND A DOG", "take a break and rest", "BREAKING news", "a < b", "{hat}"]
)
def test_words_that_only_look_like_commands_are_words(prompt):
    assert words_of(prompt) == prompt


@pytest.mark.parametrize("prompt", ["(secret", "(secret:9)", "secret <lora:secret:1>", "[secret|secret]"])
def test_no_refusal_quotes_the_prompt(prompt):
    with pytest.raises(PromptSyntaxError) as refusal:
        spans(prompt)
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("prompt", ["(" * 2000, "[" * 1000 + "]" * 1000, "(a:1)" * 400, "{" + "|" * 1999, "[:1" * 600])
def test_the_longest_prompt_of_brackets_is_read_at_once(prompt):
    with contextlib.suppress(PromptSyntaxError):
        assert len(spans(prompt)) <= 400
