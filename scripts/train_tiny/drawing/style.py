"""What a portrait is like apart from the person: clothes, background, light and art direction."""

from dataclasses import dataclass

import numpy as np

from scripts.train_tiny.drawing.person import Rgb

COLOURS: dict[str, Rgb] = {
    "red": (200, 48, 50), "orange": (232, 128, 44), "yellow": (240, 202, 76), "green": (62, 142, 84),
    "teal": (40, 146, 152), "blue": (58, 110, 204), "navy": (32, 44, 86), "purple": (126, 76, 178),
    "pink": (236, 140, 172), "white": (238, 238, 240), "black": (36, 36, 42), "grey": (132, 136, 144),
    "brown": (118, 80, 52), "beige": (216, 198, 168),
}  # fmt: skip
BACKDROPS: dict[str, Rgb] = {**COLOURS, "dark": (40, 40, 46), "grey": (168, 170, 176)}
GARMENTS = (
    "suit", "tuxedo", "blazer", "shirt", "t-shirt", "sweater", "turtleneck", "hoodie", "jacket", "denim jacket",
    "coat", "dress",
)  # fmt: skip
PLACES = (
    "studio", "bokeh", "office", "library", "brick wall", "cafe", "forest", "park", "garden", "mountains", "beach",
    "city", "city at night", "snow", "sunset",
)  # fmt: skip
PLACE_ODDS = (0.28, 0.08, 0.09, 0.06, 0.04, 0.04, 0.06, 0.07, 0.04, 0.04, 0.06, 0.06, 0.03, 0.03, 0.02)
LIGHTS = ("soft", "natural", "dramatic", "warm")
ARTS = ("none", "golden hour", "neon", "black and white", "cinematic", "comic", "minimal")
ART_ODDS = (0.58, 0.08, 0.06, 0.09, 0.07, 0.08, 0.04)

COLOURED_PLACES = ("studio", "bokeh")  # elsewhere the backdrop's colour is not drawn
COLOURLESS_ARTS = ("black and white", "neon")
STYLE_FACTORS: dict[str, tuple[str, ...]] = {
    "garment": GARMENTS,
    "colour": tuple(COLOURS),
    "place": PLACES,
    "backdrop": tuple(BACKDROPS),
    "light": LIGHTS,
    "art": ARTS,
}
IGNORED = -100  # cross_entropy's own mark for "no label"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnStyle:
    """`backdrop` colours the studio and bokeh places. `light` is "soft" wherever `art` is not "none"."""

    garment: str
    colour: str
    place: str
    backdrop: str
    light: str
    art: str


def draw_style(rng: np.random.Generator) -> DrawnStyle:
    """Every combination can happen: a style must never tell who wears it."""
    garment = str(rng.choice(GARMENTS, p=_GARMENT_ODDS))
    colour = "black" if garment == "tuxedo" else str(rng.choice(list(COLOURS)))
    if garment == "suit" and rng.random() < 0.5:
        colour = str(rng.choice(("navy", "grey", "black")))
    art = str(rng.choice(ARTS, p=ART_ODDS))
    return DrawnStyle(
        garment=garment,
        colour=colour,
        place=str(rng.choice(PLACES, p=PLACE_ODDS)),
        backdrop=str(rng.choice(list(BACKDROPS), p=_BACKDROP_ODDS)),
        light=str(rng.choice(LIGHTS, p=(0.4, 0.25, 0.15, 0.2))) if art == "none" else "soft",
        art=art,
    )


def shown(style: DrawnStyle) -> set[str]:
    """Which of STYLE_FACTORS a picture in this style can show at all.

    Black and white and neon take the colours away; only plain backgrounds have a colour of their own; an art
    direction brings its light with it.
    """
    hidden = set()
    if style.art in COLOURLESS_ARTS:
        hidden |= {"colour", "backdrop"}
    if style.place not in COLOURED_PLACES:
        hidden.add("backdrop")
    if style.art != "none":
        hidden.add("light")
    return STYLE_FACTORS.keys() - hidden


def style_classes(style: DrawnStyle) -> list[int]:
    """Class index per entry of STYLE_FACTORS; IGNORED for what is not shown, which only teaches to guess."""
    seen = shown(style)
    return [classes.index(getattr(style, name)) if name in seen else IGNORED for name, classes in STYLE_FACTORS.items()]


def plain_style(rng: np.random.Generator) -> DrawnStyle:
    """What people wear on selfies: anything, in ordinary light."""
    style = draw_style(rng)
    return DrawnStyle(
        garment=style.garment,
        colour=style.colour,
        place=style.place,
        backdrop=style.backdrop,
        light=str(rng.choice(LIGHTS, p=(0.4, 0.3, 0.15, 0.15))),
        art="none",
    )


_GARMENT_ODDS = (0.17, 0.03, 0.07, 0.12, 0.10, 0.13, 0.08, 0.08, 0.07, 0.05, 0.06, 0.04)
# In the order of BACKDROPS; grey, white and dark are what styles ask for most.
_BACKDROP_WEIGHTS = np.array((1, 1, 1, 1, 1.5, 1.5, 1, 1, 1, 2.5, 1.5, 4.5, 1, 1, 2))
_BACKDROP_ODDS = _BACKDROP_WEIGHTS / _BACKDROP_WEIGHTS.sum()
