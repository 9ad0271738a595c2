"""A prompt's text as spans with weights, in the syntax that stable-diffusion-webui made usual.

    (words)        times 1.1
    (words:1.3)    times 1.3
    [words]        divided by 1.1
    \\( \\) \\[ \\]    the brackets themselves

Brackets nest, and their weights multiply. What else that program and its like read as commands has no meaning here,
and as words it would be drawn: it is refused by name. Both the front, which refuses early, and the worker read this.
"""

import re
from typing import NamedTuple

BRACKET_FACTOR = 1.1
MAX_WEIGHT = 2.0  # above it embeddings leave what the networks were trained on, and pictures break

_PLAIN = re.compile(r"[^\\()\[\]<{:]*")  # nothing in it can be syntax, but for the words in capitals
_PIECE = re.compile(
    r"\\(?P<escaped>[\\()\[\]])"
    r"|:\s*(?P<weight>[-+.,\d]+)\s*\)"
    r"|(?P<bracket>[()\[\]])"
    r"|(?P<text>[^\\()\[\]:]+|[:\\])"
)
_NUMBER = re.compile(r"[-+]?(\d{1,9}(\.\d{0,9})?|\.\d{1,9})")
_CLOSES = {")": "(", "]": "["}
_ESCAPE = "Brackets that are meant as text have a backslash before them, as in \\(smiling\\)."
_TAG = re.compile(r"<\s*(lora|lyco|lycoris|loha|hypernet|embedding|ti)\s*:", re.IGNORECASE)
_COMMANDS = (
    (re.compile(r"\[[^\[\]]*:\s*\.?\d[\d.]*\s*\]"), "[from:to:when]", "a prompt is one text for all steps"),
    (re.compile(r"\[[^\[\]|]*\|[^\[\]]*\]"), "[one|other]", "a prompt is one text for all steps"),
    (re.compile(r"\{[^{}|]*\|[^{}]*\}"), "{one|other}", "nothing is drawn by lot: send a request for each"),
    (re.compile(r"\bembedding:\w", re.IGNORECASE), "embedding:", "no textual inversions are loaded"),
)
_IN_CAPITALS = (
    (re.compile(r"\bBREAK\b"), "BREAK", "a prompt is one chunk of 75 tokens: put a comma in its place"),
    (re.compile(r"(?<=\S\s)AND(?=\s+\S)"), "AND", "a prompt is one text: write 'and', or a comma"),
)


class WeightedText(NamedTuple):
    """Text and how much it counts; 1 is as it stands."""

    text: str
    weight: float


class PromptSyntaxError(ValueError):
    """A prompt in whose brackets or commands something is wrong. `code` is stable; the text quotes no words of it."""

    def __init__(self, code: str, message: str, *, value: float | None = None, limit: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.value = value
        self.limit = limit


def spans(prompt: str) -> tuple[WeightedText, ...]:
    """In order, no two neighbours of one weight. Raises PromptSyntaxError."""
    _refuse_commands(prompt)
    if _PLAIN.fullmatch(prompt):
        return (WeightedText(prompt, 1.0),)
    found: list[WeightedText] = []
    opened: list[tuple[str, int, int]] = []  # bracket, where it stands, the first span inside
    for piece in _PIECE.finditer(prompt):
        bracket = ")" if piece["weight"] is not None else piece["bracket"]
        if bracket is None:
            found.append(WeightedText(piece["escaped"] or piece["text"], 1.0))
        elif bracket in "([":
            opened.append((bracket, piece.start(), len(found)))
        else:
            if not opened or opened[-1][0] != _CLOSES[bracket]:
                raise _unbalanced(bracket, piece.end())
            _, _, first = opened.pop()
            factor = _factor(bracket, piece["weight"])
            found[first:] = [WeightedText(span.text, round(span.weight * factor, 9)) for span in found[first:]]
    if opened:
        raise _unbalanced(opened[-1][0], opened[-1][1] + 1)
    return _joined(found)


def words_of(prompt: str) -> str:
    """The text alone, as it reads without its weights. Raises PromptSyntaxError."""
    return "".join(span.text for span in spans(prompt))


def _factor(bracket: str, weight: str | None) -> float:
    if weight is None:
        return BRACKET_FACTOR if bracket == ")" else 1 / BRACKET_FACTOR
    if _NUMBER.fullmatch(weight) is None:
        message = "The prompt has a weight that is no number: write it as in (red coat:1.3), with a point. " + _ESCAPE
        raise PromptSyntaxError("prompt_syntax", message)
    return float(weight)


def _joined(found: list[WeightedText]) -> tuple[WeightedText, ...]:
    joined: list[WeightedText] = []
    for span in found:
        if not 0 <= span.weight <= MAX_WEIGHT:
            message = (
                f"The prompt has words of weight {span.weight:.4g}, all brackets around them counted; a weight is a "
                f"number from 0 to {MAX_WEIGHT:g}. {_ESCAPE}"
            )
            limit = 0.0 if span.weight < 0 else MAX_WEIGHT
            raise PromptSyntaxError("prompt_weight_out_of_bounds", message, value=span.weight, limit=limit)
        if joined and joined[-1].weight == span.weight:
            joined[-1] = WeightedText(joined[-1].text + span.text, span.weight)
        else:
            joined.append(span)
    return tuple(joined) or (WeightedText("", 1.0),)


def _unbalanced(bracket: str, place: int) -> PromptSyntaxError:
    lacks = "closes nothing" if bracket in _CLOSES else "is never closed"
    message = f"The prompt's '{bracket}' at character {place} {lacks}: weights are written as (red coat:1.3). {_ESCAPE}"
    return PromptSyntaxError("prompt_syntax", message, value=place)


def _refuse_commands(prompt: str) -> None:
    if _TAG.search(prompt):
        message = (
            "The prompt has a tag such as <lora:name:0.8>, which is not read here: leave it out, and send the fields "
            "'lora' (a name that GET /v1/models lists) and 'lora_scale'."
        )
        raise PromptSyntaxError("prompt_command", message)
    has_lower_case = any(letter.islower() for letter in prompt)  # a prompt all in capitals has no commands in capitals
    for pattern, name, why in (*_COMMANDS, *(_IN_CAPITALS if has_lower_case else ())):
        if pattern.search(prompt):
            raise PromptSyntaxError("prompt_command", f"The prompt has {name}, which is not read here: {why}.")
