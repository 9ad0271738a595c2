"""The class word: who is in the picture, as a caller's prompt says it ("a man playing guitar").

The adapters were trained around such a word (`SUBJECTS`), so every prompt that reaches one has it.
"""

import re

from service.errors import BadRequest
from service.styles import ANYONE, PLACE, SUBJECTS

TRIGGER = "img"  # PhotoMaker's callers mark the class word with it: "a man img playing guitar"
_TRIGGER = re.compile(rf"\b{TRIGGER}\b", re.IGNORECASE)
_CLASS_WORD = re.compile(rf"\b({'|'.join(SUBJECTS)})\b", re.IGNORECASE)
_LAST_WORD = re.compile(r"\b(\w++)(?:\s|[()\[\]]|:\s*[.\d]+\s*(?=\)))*$")  # a weight and its brackets may follow it


def with_subject(prompt: str, subject: str) -> tuple[str, str]:
    """A caller's prompt with a class word in it, and that word.

    `{subject}` is where the word goes. Else it is the one that the prompt marks with the trigger; or `subject`, if the
    prompt has it; or, where `subject` says only that it is a person, the first that the prompt has. A word that the
    prompt has not goes in front. Raises BadRequest where the trigger stands more than once.
    """
    if PLACE in prompt:
        return prompt.replace(PLACE, subject), subject
    if _TRIGGER.search(prompt):
        return place_subject(prompt, subject)
    if re.search(rf"\b{re.escape(subject)}\b", prompt, re.IGNORECASE):
        return prompt, subject
    if subject == ANYONE and (found := first_class_word(prompt)):
        return prompt, found
    return f"portrait photo of a {subject}, {prompt}", subject


def place_subject(prompt: str, otherwise: str = ANYONE) -> tuple[str, str]:
    """The prompt without its trigger word, and the class word that the trigger stood behind.

    "a photo of a woman img" -> "a photo of a woman", "woman". Behind any other word the person is put in its place: "a
    wizard img" -> "a wizard person". Raises BadRequest where the trigger stands more than once.
    """
    found = list(_TRIGGER.finditer(prompt))
    if len(found) > 1:
        message = f"The prompt has the trigger word '{TRIGGER}' {len(found)} times: write it once, behind the person."
        raise BadRequest("prompt_reserved_word", message, value=len(found), limit=1, extra={"field": "prompt"})
    if not found:
        return prompt, first_class_word(prompt) or otherwise
    before, behind = prompt[: found[0].start()], prompt[found[0].end() :]
    marked = _LAST_WORD.search(before)
    if marked is not None and marked[1].lower() in SUBJECTS:
        return before.rstrip() + behind, marked[1].lower()
    return before + otherwise + behind, otherwise


def first_class_word(prompt: str) -> str | None:
    """In lower case."""
    found = _CLASS_WORD.search(prompt)
    return None if found is None else found[1].lower()
