"""Where the person goes in a prompt: the trigger word, its class token, and the ids that the text encoders get.

The trigger (`img`) is a special token with an id outside the text encoders' tables. It marks the token before it, the
class token ("man img"), and is removed; the class token is repeated once per ID token, and each copy is later fused
with one of them. Rules and their oddities: TencentARC/PhotoMaker, recorded in scripts/golden/records/photomaker.
"""

import re
from dataclasses import dataclass

from transformers import CLIPTokenizer

from models.sdxl.text import CONTEXT_TOKENS, SpecialIds, TokenWeights, framed_weights, weighted_ids

TRIGGER = "img"


class TriggerError(ValueError):
    """The prompt has no usable place for the person. `code` is stable, the text is for the caller."""

    def __init__(self, code: str, message: str, *, value: int | None = None, limit: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.value = value
        self.limit = limit


@dataclass(frozen=True, slots=True)
class ExpandedPrompt:
    """One tokenizer's view: `ids` has the class token repeated at `positions`; `plain_ids` has it once.

    The weights are those of their tokens. At `positions` they are 1: how much of the person there is, is not the
    prompt's to say, but `strength`'s.
    """

    ids: tuple[int, ...]  # 77
    positions: tuple[int, ...]  # one per ID token that fits
    plain_ids: tuple[int, ...]  # 77
    weights: TokenWeights
    plain_weights: TokenWeights


def place_trigger(prompt: str, subject: str) -> str:
    """Put the trigger behind the class word: "photo of a woman" -> "photo of a woman img".

    A prompt that already holds the trigger once is kept. Without the class word, the person is named in front.
    Raises TriggerError where the trigger stands more than once or hides inside a word ("imgur"), which the tokenizer
    would take for it.
    """
    mentions = prompt.count(TRIGGER)
    standing = re.search(rf"\b\w+\s+{TRIGGER}\b", prompt)
    if mentions == 1 and standing:
        return prompt
    if mentions:
        raise TriggerError(
            "prompt_reserved_word",
            f"The prompt holds '{TRIGGER}' {mentions} time(s) in a place where it can't be used. It is reserved: leave "
            f"it out, or write it exactly once right behind the person, as in 'a {subject} {TRIGGER}'.",
            value=mentions,
            limit=1,
        )
    found = re.search(rf"\b{re.escape(subject)}\b", prompt, re.IGNORECASE)
    if found is None:
        return f"photo of a {subject} {TRIGGER}, {prompt}"
    return f"{prompt[: found.end()]} {TRIGGER}{prompt[found.end() :]}"


def with_trigger(tokenizer: CLIPTokenizer) -> int:
    """Teach a tokenizer the trigger; returns its id. Give it a tokenizer of the adapter's own, never the shared one."""
    tokenizer.add_tokens([TRIGGER], special_tokens=True)
    return _trigger_id(tokenizer)


def expand(tokenizer: CLIPTokenizer, prompt: str, num_tokens: int) -> ExpandedPrompt:
    """Tokenize `prompt`, remove the trigger and repeat its class token `num_tokens` times.

    `tokenizer` knows the trigger. Like the reference this cuts at 77 tokens; `check_budget` says beforehand whether
    it would. Raises TriggerError unless the trigger stands exactly once within the first 77 tokens.
    """
    trigger_id = _trigger_id(tokenizer)
    words, weights = weighted_ids(tokenizer, prompt)
    special = SpecialIds.of(tokenizer)
    ids = special.padded([special.start, *words[: CONTEXT_TOKENS - 2], special.end])
    if (mentions := ids.count(trigger_id)) != 1:
        raise TriggerError(
            "prompt_trigger_count",
            f"The trigger word '{TRIGGER}' must stand exactly once within the first {CONTEXT_TOKENS} tokens of the "
            f"prompt; it stands there {mentions} times.",
            value=mentions,
            limit=1,
        )
    at = ids.index(trigger_id) - 1
    without = [*ids[: at + 1], *ids[at + 2 :]]
    expanded = [*without[:at], *[without[at]] * num_tokens, *without[at + 1 :]]
    plain = [word for word in words if word != trigger_id]
    plain_weights = framed_weights([weight for word, weight in zip(words, weights, strict=True) if word != trigger_id])
    return ExpandedPrompt(
        ids=special.padded(expanded),
        positions=tuple(range(at, min(at + num_tokens, CONTEXT_TOKENS))),
        plain_ids=special.padded([special.start, *plain[: CONTEXT_TOKENS - 2], special.end]),
        weights=(*plain_weights[:at], *[1.0] * num_tokens, *plain_weights[at + 1 :])[:CONTEXT_TOKENS],
        plain_weights=plain_weights,
    )


def check_budget(tokenizer: CLIPTokenizer, prompt: str, num_tokens: int) -> None:
    """Raise TriggerError if the prompt and its ID tokens don't fit: a cut prompt would lose its end-of-text token."""
    trigger_id = _trigger_id(tokenizer)
    words = [word for word in weighted_ids(tokenizer, prompt)[0] if word != trigger_id]
    needed, limit = len(words) - 1 + num_tokens, CONTEXT_TOKENS - 2
    if needed > limit:
        raise TriggerError(
            "prompt_too_long",
            f"The prompt needs {needed} tokens ({needed - num_tokens} for its words, {num_tokens} for the person); "
            f"{limit} fit. Shorten it by about {needed - limit} words, or send fewer selfies.",
            value=needed,
            limit=limit,
        )


def _trigger_id(tokenizer: CLIPTokenizer) -> int:
    trigger_id = tokenizer.convert_tokens_to_ids(TRIGGER)
    assert isinstance(trigger_id, int)
    return trigger_id
