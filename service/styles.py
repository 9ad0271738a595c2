"""The catalogue of portrait styles: a name becomes a prompt and its defaults.

Styles live in a TOML file of `[[style]]` tables, so that an operator can replace them without touching code. The
file is checked when it is loaded: an error names the file, the entry and the reason. Prompts hold `{subject}` once,
where the class word goes ("portrait photo of a {subject} wearing ...").
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, Struct

from models.wire.groups import Guidance, Sampling, Strength, merge
from models.wire.weighting import PromptSyntaxError, words_of
from service.errors import BadRequest

BUILT_IN = Path(__file__).with_name("styles.toml")
MAX_WORDS = 60  # CLIP reads 77 tokens; 60 plain words leave room for the adapter's trigger tokens
PLACE = "{subject}"
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

# The class words the adapters were trained around. A closed list: a free word here would be a prompt in disguise.
ANYONE = "person"
SUBJECTS = (ANYONE, "man", "woman", "gentleman", "lady", "guy", "boy", "girl")


class StylesError(Exception):
    """The styles file can't be used. The text is for the operator: file, entry, reason."""


class Style(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry. None in a default means the bundle's own default."""

    name: Annotated[str, Meta(max_length=40, description="What requests call it.")]
    title: Annotated[str, Meta(min_length=1, max_length=60, description="What people call it.")]
    description: Annotated[str, Meta(min_length=1, max_length=300)]
    prompt: Annotated[str, Meta(min_length=1, description="Holds `{subject}` exactly once.")]
    negative_prompt: str | None = None
    strength: Strength | None = None
    guidance: Guidance | None = None

    @property
    def sampling(self) -> Sampling:
        """Those of its fields that are a sampling's."""
        return merge(self, Sampling())

    def prompt_for(self, subject: str) -> str:
        return self.prompt.replace(PLACE, subject)


class Styles:
    """The loaded catalogue, in the file's order. Immutable after construction."""

    def __init__(self, entries: list[Style], default: str) -> None:
        self._by_name = {style.name: style for style in entries}
        self.default = default

    def __iter__(self) -> Iterator[Style]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def find(self, name: str | None) -> Style:
        """The style of that name, or the default for None. Raises BadRequest `unknown_style` with the known ones."""
        style = self._by_name.get(name or self.default)
        if style is None:
            raise BadRequest(
                "unknown_style",
                "There is no style of that name; GET /v1/styles lists the known ones.",
                value=name,
                extra={"allowed": list(self._by_name)},
            )
        return style


def load_styles(path: Path = BUILT_IN, *, default: str = "corporate") -> Styles:
    """Read and check a styles file. Raises StylesError."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StylesError(f"{path}: can't be read: {error}") from error
    raw: list[Any] = tables["style"] if isinstance(tables.get("style"), list) else []
    if not raw or len(tables) != 1:
        raise StylesError(f"{path}: wanted a list of [[style]] tables and nothing else")
    entries = [_entry(path, number, table) for number, table in enumerate(raw, start=1)]
    names = [style.name for style in entries]
    for style in entries:
        if names.count(style.name) > 1:
            raise StylesError(f"{path}: style {style.name!r}: the name is used twice")
    if default not in names:
        raise StylesError(f"{path}: the default style {default!r} is not in it")
    return Styles(entries, default)


def _entry(path: Path, number: int, table: object) -> Style:
    where = f"{path}: style number {number}"
    if isinstance(table, dict) and "name" in table:
        where = f"{path}: style {cast(dict[str, Any], table)['name']!r}"
    try:
        style = msgspec.convert(table, Style)
    except msgspec.ValidationError as error:
        raise StylesError(f"{where}: {error}") from None
    if not NAME.fullmatch(style.name):
        raise StylesError(f"{where}: a name is lower-case words joined by hyphens")
    if style.prompt.count(PLACE) != 1:
        raise StylesError(f"{where}: the prompt has {PLACE} {style.prompt.count(PLACE)} times, wanted exactly once")
    for field in ("prompt", "negative_prompt"):
        try:
            words = len(words_of(getattr(style, field) or "").split())
        except PromptSyntaxError as error:
            raise StylesError(f"{where}: the {field}: {error}") from None
        if words > MAX_WORDS:
            raise StylesError(f"{where}: the {field} has {words} words, at most {MAX_WORDS} fit")
    return style
