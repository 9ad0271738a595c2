"""What people would write to get a style: templates and synonyms over the renderer's vocabulary."""

import numpy as np

from scripts.train_tiny.drawing.style import DrawnStyle

TRIGGER = "img"

_SUBJECTS = {
    True: ("woman", "woman", "woman", "woman", "lady", "girl"),
    False: ("man", "man", "man", "man", "gentleman", "guy", "boy"),
}
_GARMENTS: dict[str, tuple[str, ...]] = {
    "suit": ("suit", "suit", "suit", "business suit", "dress suit", "suit and tie"),
    "tuxedo": ("tuxedo", "tuxedo", "tuxedo with bow tie"),
    "blazer": ("blazer", "blazer", "sport coat"),
    "shirt": ("shirt", "shirt", "shirt", "dress shirt", "blouse", "button-up shirt"),
    "t-shirt": ("t-shirt", "t-shirt", "tee", "tshirt"),
    "sweater": ("sweater", "sweater", "sweater", "knit sweater", "jumper", "pullover"),
    "turtleneck": ("turtleneck", "turtleneck", "turtleneck sweater", "roll neck"),
    "hoodie": ("hoodie", "hoodie", "hooded sweatshirt"),
    "jacket": ("jacket", "jacket", "zip jacket", "leather jacket"),
    "denim jacket": ("denim jacket", "denim jacket", "jean jacket"),
    "coat": ("coat", "coat", "winter coat", "overcoat"),
    "dress": ("dress", "dress", "evening dress"),
}
_PLACES: dict[str, tuple[str, ...]] = {
    "studio": (
        "plain {c} studio background", "plain {c} studio background", "{c} studio background", "plain {c} background",
        "{c} background", "{c} studio backdrop", "solid {c} background",
    ),
    "bokeh": ("{c} bokeh background", "{c} bokeh lights", "blurred {c} lights", "{c} bokeh"),
    "office": ("office background", "office background", "in an office", "modern office", "blurred office background"),
    "library": ("library background", "library background", "in a library", "bookshelves", "bookshelf background"),
    "brick wall": ("brick wall background", "brick wall", "in front of a brick wall"),
    "cafe": ("cafe background", "in a cafe", "coffee shop background", "restaurant background"),
    "forest": ("forest background", "in a forest", "in the woods", "pine forest"),
    "park": ("park background", "park background", "in a park", "outdoors", "trees and grass"),
    "garden": ("garden background", "in a garden", "flower garden", "flowers"),
    "mountains": ("mountain background", "mountains background", "in the mountains", "mountains"),
    "beach": ("beach background", "at the beach", "on a beach", "sea and sand", "by the sea"),
    "city": ("city background", "city background", "in the city", "city street background", "city skyline", "street"),
    "city at night": ("city at night", "night city background", "neon city street", "night street background"),
    "snow": ("snow background", "in the snow", "snowy background", "winter background", "snowy winter landscape"),
    "sunset": ("sunset background", "at sunset", "sunset sky"),
}  # fmt: skip
_LIGHTS: dict[str, tuple[str, ...]] = {
    "soft": ("soft light", "soft light", "", "", "studio light", "even light"),
    "natural": ("natural light", "natural light", "daylight", "bright natural light"),
    "dramatic": ("dramatic light", "dramatic light", "dramatic lighting", "dark shadows", "low key light"),
    "warm": ("warm light", "warm light", "warm lighting"),
}
_ARTS: dict[str, tuple[str, ...]] = {
    "golden hour": ("golden hour light", "golden hour", "golden light"),
    "neon": ("neon light", "neon lights", "cyberpunk neon light", "cyberpunk"),
    "black and white": ("black and white", "black and white", "black and white photo", "monochrome"),
    "cinematic": ("cinematic", "cinematic light", "film still", "movie still"),
    "comic": ("comic", "comic book style", "comic book illustration", "illustration", "ink drawing"),
    "minimal": ("minimal", "minimalist", "minimal bright light", "high key light"),
}
_LEADS = ("portrait photo", "portrait photo", "portrait photo", "portrait", "photo", "headshot", "close-up portrait")
_TAILS = ("", "", "", "", "", "high quality", "detailed", "sharp focus", "professional", "85mm")


def draw_prompt(rng: np.random.Generator, style: DrawnStyle, feminine: bool) -> str:
    """A prompt with the trigger behind its class word, as in "portrait photo of a man img wearing a navy suit, ..."."""
    subject = "person" if rng.random() < 0.5 else _pick(rng, _SUBJECTS[feminine])
    art = _pick(rng, _ARTS[style.art]) if style.art != "none" else _pick(rng, _LIGHTS[style.light])
    place = _pick(rng, _PLACES[style.place]).format(c=_spelling(rng, style.backdrop))
    garment = f"{_spelling(rng, style.colour)} {_pick(rng, _GARMENTS[style.garment])}"
    lead, person = _pick(rng, _LEADS), f"a {subject} {TRIGGER}"
    wearing = f"{_pick(rng, ('wearing', 'wearing', 'wearing', 'in', 'with'))} {_article(garment)} {garment}"
    form = rng.integers(10)
    if form < 5:
        parts = [f"{lead} of {person} {wearing}", place, art]
    elif form < 7:
        parts = [f"{art} {lead} of {person} {wearing}".strip(), place]
    elif form < 8:
        parts = [f"{lead} of {person}", garment, *_shuffled(rng, [place, art])]
    else:
        parts = [f"{person} {wearing}", *_shuffled(rng, [place, art, lead])]
    return ", ".join(part for part in [*parts, _pick(rng, _TAILS)] if part)


def words() -> list[str]:
    """Every word that a prompt can hold, for the tokenizers."""
    tables = (_GARMENTS, _PLACES, _LIGHTS, _ARTS)
    phrases = [phrase for table in tables for options in table.values() for phrase in options]
    phrases += [*_LEADS, *_TAILS, *_SUBJECTS[True], *_SUBJECTS[False], "a an person wearing in with of the at on by"]
    return sorted({word for phrase in phrases for word in phrase.replace("{c}", "").split()})


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[rng.integers(len(options))]


def _spelling(rng: np.random.Generator, colour: str) -> str:
    other = {"grey": "gray", "navy": "navy blue", "dark": "dark grey"}.get(colour)
    return other if other and rng.random() < 0.15 else colour


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _shuffled(rng: np.random.Generator, parts: list[str]) -> list[str]:
    return [parts[i] for i in rng.permutation(len(parts))]
