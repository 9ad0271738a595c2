"""Which texts the built-in list of words refuses, under which disguises, and what it lets by."""

import time

import pytest

from service.ages import youngest
from service.word_list import WordListError, load_word_list

WORDS = load_word_list()
SEXUAL = [
    "a nude woman", "NUDE", "n\u00fcde", "nuuuude", "nu\u200bde", "\uff4e\uff55\uff44\uff45", "nu\u0501e",
    "n u d e woman", "a n u d e woman", "n.u.d.e", "n-u-d-e", "s3xy man", "$exy", "n@ked", "p0rn", "pornographic",
    "topless", "lingerie", "sexually suggestive", "a woman (nude:1.3)", "a woman (nu)(de)", "(nu:1.1)(de:1.1)",
    "no   clothes", "see-through dress",
]  # fmt: skip
MINORS = [
    "schoolgirl", "school girl", "school-girl", "1girl, solo", "g1rl", "a child", "ch1ld", "k1d", "little boy",
    "toddler", "a baby", "teenager", "t33n", "pre-teen", "in her teens", "two kids", "a 12 year old", "12-year-old",
    "12-year-olds", "twelve year old", "a sixteen-year-old", "aged 15", "Age: 15", "ages 8 to 10", "17yo", "17 y/o",
    "13 y.o.", "12 yrs old", "a 17-18 year old", "9 years of age", "6 month old", "under 18",
    "under the age of sixteen", "younger than 18",
]  # fmt: skip
FINE = [
    "Essex", "Sussex", "Middlesex", "classic", "assassin", "Scunthorpe", "cocktail dress", "peacock", "Hancock",
    "document", "kid leather gloves", "kid gloves", "kidney", "skid", "cowboy hat", "her girlfriend", "a babysitter",
    "baby blue suit", "nude heels", "the naked eye", "a minority", "a sextant", "a double-breasted suit",
    "childhood friend", "Massachusetts", "a man, 45 years old", "aged 35", "18 year old", "twenty-one year old",
    "twenty one year old", "thirty-five-year-old", "middle aged 50", "a 100 year old house", "3 day old stubble",
    "at 12:30", "page 12", "stage 3", "in 2012", "f/16",
]  # fmt: skip


@pytest.mark.parametrize(("topic", "texts"), [("sexual", SEXUAL), ("minors", MINORS)])
def test_refused_words_are_found_through_usual_disguises(topic, texts):
    found = {text: WORDS.find(text) for text in texts}
    assert {text: None if one is None else one.topic for text, one in found.items()} == dict.fromkeys(texts, topic)


def test_words_inside_words_and_allowed_phrases_are_let_by():
    assert {text: WORDS.find(text) for text in FINE} == dict.fromkeys(FINE)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("", None),
        ("a man", None),
        ("aged 15 and 40", 15),
        ("twenty-two years old", 22),
        ("3 weeks old", 0),
        ("7.5yo", 7.5),
    ],
)
def test_ages_are_read_in_figures_and_in_words(text, age):
    assert youngest(text) == age


@pytest.mark.parametrize(
    "text", ["s" * 2000, "a b c d " * 250, "1 or " * 400, "s3" * 1000, "one hundred " * 160, "aged " * 400]
)
def test_the_longest_prompt_takes_no_time(text):
    began = time.process_time()
    assert WORDS.find(text[:2000]) is None
    assert time.process_time() - began < 0.5  # it takes 10 ms


def test_an_operator_s_file_takes_the_place_of_ours(tmp_path):
    path = tmp_path / "words.toml"
    path.write_text(
        'adult_age = 0\nallowed = ["red tape"]\n'
        '[[topic]]\nname = "red"\nsentence = "has red in it"\nwords = ["red", "scarlet*"]\n'
    )
    words = load_word_list(path)
    assert [words.find(text) for text in ("a nude girl", "aged 15", "red tape")] == [None] * 3
    assert [words.find(text).topic for text in ("RED coat", "scarlets", "r e d")] == ["red"] * 3


def test_an_empty_file_refuses_nothing(tmp_path):
    (tmp_path / "none.toml").write_text("adult_age = 0\n")
    assert load_word_list(tmp_path / "none.toml").find("a nude girl aged 15") is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("adult_age = 'x'", "adult_age"),
        ("allowed = ['(a']", r"'\(a' is no entry"),
        ("[[topic]]\nname='a'\nsentence='b'\nwords=['*']", "is no entry"),
        ("words = []", "unknown field `words`"),
        ("= 1", "can't be read"),
    ],
)
def test_a_file_that_can_t_be_used_is_named_with_the_reason(tmp_path, text, problem):
    path = tmp_path / "words.toml"
    path.write_text(text)
    with pytest.raises(WordListError, match=rf"words\.toml.*{problem}"):
        load_word_list(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(WordListError, match=r"nowhere\.toml"):
        load_word_list(tmp_path / "nowhere.toml")
