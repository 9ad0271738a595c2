"""The words that no prompt may have, in an operator's file, and the disguises under which they are still found.

It is a first filter, of English words: it knows nothing of meaning or of other languages, and it never sees pictures.
The file says what is refused and what is let by; `refused_words.toml` is ours.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from service.ages import youngest

BUILT_IN = Path(__file__).with_name("refused_words.toml")
ENTRY = re.compile(r"[a-z0-9'](?:[a-z0-9' ]*[a-z0-9'])?\*?")

# Letters of other alphabets that look like ours; what has a decomposition (accents, full width) needs no entry.
_LOOKALIKES = str.maketrans("аеорсухіѕјԁһкмтвнαοεικνρτυχıł", "aeopcyxisjdhkmtbhaoeikvptuxil")
_LEET = str.maketrans("0134578@$!€", "oieastbasie")
_LEET_L = str.maketrans("0134578@$!€", "oleastbasle")
_BRACKETS = re.compile(r"[()\[\]\\]|:\s*[\d.]+(?=\s*\))")  # (nu:1.1)(de)
_TOKEN = re.compile(r"\S+")
_SPELLED = re.compile(r"(?<![^\W_])[a-z](?:[\W_]{1,3}[a-z](?![^\W_])){2,}")  # s e x y, n.u.d.e


class WordListError(Exception):
    """The file of refused words can't be used. The text is for the operator: file, entry, reason."""


class Topic(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words of one kind. `sentence` is what a prompt with one of them does: "names a minor"."""

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    sentence: Annotated[str, Meta(min_length=1, max_length=100)]
    words: list[str]


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    adult_age: Annotated[int, Meta(ge=0, le=30)] = 18
    allowed: list[str] = []
    topic: list[Topic] = []


class Found(NamedTuple):
    """Why a text is refused, without a word of it."""

    topic: str
    sentence: str


UNDER_AGE = Found("minors", "names somebody's age, which is a minor's")


class WordList:
    """A loaded file. Immutable after construction."""

    def __init__(self, topics: Sequence[Topic], allowed: Iterable[str], adult_age: int) -> None:
        self._adult_age = adult_age
        self._allowed = _pattern(allowed)
        self._topics = [(Found(topic.name, topic.sentence), _pattern(topic.words)) for topic in topics]

    def find(self, text: str) -> Found | None:
        """The first thing in a text for which it is refused."""
        plain = _plain(text)
        age = youngest(plain) if self._adult_age else None
        if age is not None and age < self._adult_age:
            return UNDER_AGE
        for reading in _readings(plain):
            left = self._allowed.sub(" ", reading)
            for found, words in self._topics:
                if words.search(left):
                    return found
        return None


def load_word_list(path: Path = BUILT_IN) -> WordList:
    """Read and check a file. Raises WordListError."""
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise WordListError(f"{path}: can't be read: {error}") from error
    for entry in (*file.allowed, *(word for topic in file.topic for word in topic.words)):
        if ENTRY.fullmatch(entry) is None:
            raise WordListError(
                f"{path}: {entry!r} is no entry: wanted words in lower case, with a space between them and perhaps a "
                "star at the end"
            )
    return WordList(file.topic, file.allowed, file.adult_age)


def _plain(text: str) -> str:
    """Without case, accents, invisible characters, and letters of other alphabets that look like ours."""
    apart = unicodedata.normalize("NFKD", text).casefold()
    seen = "".join(letter for letter in apart if unicodedata.category(letter) not in ("Mn", "Me", "Cf"))
    return seen.translate(_LOOKALIKES).replace("\u2019", "'")


def _readings(plain: str) -> Iterator[str]:
    """As it stands, without the brackets of weights, with figures for letters, with letters that stand apart joined."""
    yield plain
    yield _BRACKETS.sub("", plain)
    for leet in (_LEET, _LEET_L):
        decoded = _TOKEN.sub(lambda token, leet=leet: _decoded(token[0], leet), plain)
        if decoded != plain:
            yield decoded
    for spelled in _SPELLED.finditer(plain):
        word = re.sub(r"[\W_]+", "", spelled[0])
        yield word
        yield word[1:]  # "a n u d e"


def _decoded(token: str, leet: dict[int, int]) -> str:
    """Where letters and figures are mixed; "12" is a number."""
    return token.rstrip("!").translate(leet) if any(letter.isalpha() for letter in token) else token


def _pattern(entries: Iterable[str]) -> re.Pattern[str]:
    """Any of the entries as whole words, letters drawn out or not; what nothing fits where there are none."""
    found = "|".join(sorted({_expression(entry) for entry in entries}))
    return re.compile(rf"(?<![a-z])(?:{found})(?![a-z])" if found else r"(?!)")


def _expression(entry: str) -> str:
    words = entry.removesuffix("*").split()
    spelled = [
        "".join(f"{re.escape(letter)}+" if letter.isalpha() else re.escape(letter) for letter in w) for w in words
    ]
    return r"[\W_]{0,3}".join(spelled) + ("[a-z]*" if entry.endswith("*") else "")
