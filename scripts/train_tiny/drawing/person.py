"""Who is in a picture: the factors that stay the same in every portrait of one person."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Rgb = tuple[float, float, float]
Hair = Literal[
    "bald", "buzz", "side part", "quiff", "curly top", "messy", "afro", "bob", "long", "wavy", "bun", "swept"
]

HAIR: tuple[Hair, ...] = (
    "bald", "buzz", "side part", "quiff", "curly top", "messy", "afro", "bob", "long", "wavy", "bun", "swept",
)  # fmt: skip
FACIAL_HAIR = ("none", "stubble", "moustache", "goatee", "beard")
GLASSES = ("none", "round", "square", "aviator")
# The ten tones of the Monk scale (skintone.google), lightest first.
SKIN: tuple[Rgb, ...] = (
    (246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150),
    (160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32),
)  # fmt: skip
TONES_A_GROUP = 2  # where fairness over tones is taught and measured
TONE_GROUPS = len(SKIN) // TONES_A_GROUP
CARED_FOR, MOST_CARE = 190.0, 4.0  # brightness of skin below which a face counts more, and how much at most
HAIR_COLOURS: dict[str, Rgb] = {
    "black": (30, 26, 28), "dark brown": (62, 41, 29), "brown": (106, 68, 40), "auburn": (138, 62, 34),
    "ginger": (194, 98, 46), "blonde": (220, 182, 110), "platinum": (236, 223, 192), "grey": (150, 150, 155),
    "white": (226, 226, 228),
}  # fmt: skip
EYE_COLOURS: dict[str, Rgb] = {
    "dark": (48, 32, 26), "brown": (98, 60, 34), "hazel": (140, 108, 56), "green": (76, 136, 86),
    "blue": (70, 126, 190), "grey": (132, 148, 160),
}  # fmt: skip
FRAMES: tuple[Rgb, ...] = ((28, 28, 32), (122, 74, 40), (184, 148, 70), (146, 36, 42))
HAIR_COLOUR_ODDS = (0.20, 0.18, 0.15, 0.08, 0.09, 0.12, 0.04, 0.08, 0.06)
FEMININE_HAIR_ODDS = (0.01, 0.04, 0.03, 0.02, 0.06, 0.03, 0.10, 0.15, 0.19, 0.17, 0.11, 0.09)
MASCULINE_HAIR_ODDS = (0.10, 0.16, 0.21, 0.15, 0.11, 0.11, 0.08, 0.01, 0.02, 0.02, 0.02, 0.01)

# Continuous factors, each uniform in 0..1, that a recogniser should read.
SHAPES = (
    "face_width", "face_length", "jaw", "chin", "cheek", "eye_size", "eye_spacing", "eye_tilt", "eye_lid",
    "brow_thickness", "brow_angle", "nose_width", "nose_length", "mouth_width", "lip_fullness", "lip_colour",
    "ear_size",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnPerson:
    """One invented person. Numbers are 0..1 unless said otherwise."""

    feminine: bool
    tone: float  # 0..9, along SKIN
    skin: Rgb
    hair: Hair
    hair_colour: str
    hair_rgb: Rgb
    parting: int  # -1 or 1: the side
    eye_colour: str
    eye_rgb: Rgb
    facial_hair: str
    glasses: str
    frame: Rgb
    freckles: bool
    mole: int  # -1: none, else one of three places
    earrings: bool
    age: float  # 0: no lines
    shapes: dict[str, float]  # by the names in SHAPES
    seed: int  # of the strands, curls and freckles


def draw_identity(rng: np.random.Generator, index: int) -> DrawnPerson:
    """Skin tones and presentations come round in turn with `index`, so that any 20 in a row are balanced."""
    feminine = bool((index // 10) % 2)
    tone = float(np.clip(index % 10 + rng.uniform(-0.45, 0.45), 0, 9))
    hair_colour = str(rng.choice(list(HAIR_COLOURS), p=HAIR_COLOUR_ODDS))
    eye_colour = str(rng.choice(list(EYE_COLOURS)))
    shapes = {name: float(rng.uniform()) for name in SHAPES}
    shapes["jaw"] *= 0.7 if feminine else 1.0
    shapes["brow_thickness"] = shapes["brow_thickness"] * 0.7 + (0.0 if feminine else 0.3)
    shapes["lip_fullness"] = shapes["lip_fullness"] * 0.75 + (0.25 if feminine else 0.0)
    shapes["lip_colour"] = shapes["lip_colour"] * 0.6 + (0.4 if feminine else 0.0)
    odds = FEMININE_HAIR_ODDS if feminine else MASCULINE_HAIR_ODDS
    return DrawnPerson(
        feminine=feminine,
        tone=tone,
        skin=_jitter(rng, _lively(_between(SKIN, tone)), 0.0, 2.5),
        hair=HAIR[rng.choice(len(HAIR), p=odds)],
        hair_colour=hair_colour,
        hair_rgb=_jitter(rng, HAIR_COLOURS[hair_colour], 0.12, 4.0),
        parting=int(rng.choice((-1, 1))),
        eye_colour=eye_colour,
        eye_rgb=_jitter(rng, EYE_COLOURS[eye_colour], 0.1, 3.0),
        facial_hair="none" if feminine else str(rng.choice(FACIAL_HAIR, p=(0.36, 0.18, 0.12, 0.14, 0.20))),
        glasses=str(rng.choice(GLASSES, p=(0.60, 0.15, 0.15, 0.10))),
        frame=FRAMES[rng.integers(len(FRAMES))],
        freckles=bool(rng.random() < 0.15 and tone < 6.5),
        mole=int(rng.integers(3)) if rng.random() < 0.12 else -1,
        earrings=bool(rng.random() < (0.3 if feminine else 0.04)),
        age=float(rng.uniform()) if rng.random() < 0.4 else 0.0,
        shapes=shapes,
        seed=int(rng.integers(1 << 30)),
    )


def categories(person: DrawnPerson) -> np.ndarray:
    """Class index per head of CATEGORIES, int64."""
    return np.array([
        HAIR.index(person.hair), list(HAIR_COLOURS).index(person.hair_colour),
        list(EYE_COLOURS).index(person.eye_colour), FACIAL_HAIR.index(person.facial_hair),
        GLASSES.index(person.glasses), int(person.feminine), int(person.freckles), person.mole + 1,
        int(person.earrings), (person.parting + 1) // 2,
    ])  # fmt: skip


CATEGORIES: dict[str, int] = {
    "hair": len(HAIR), "hair_colour": len(HAIR_COLOURS), "eye_colour": len(EYE_COLOURS),
    "facial_hair": len(FACIAL_HAIR), "glasses": len(GLASSES), "feminine": 2, "freckles": 2, "mole": 4, "earrings": 2,
    "parting": 2,
}  # fmt: skip
MEASURES = (*SHAPES, "tone", "age", *(f"{part}_{c}" for part in ("skin", "hair", "eye", "frame") for c in "rgb"))


def measures(person: DrawnPerson) -> np.ndarray:
    """Regression targets in the order of MEASURES, roughly -1..1, float32."""
    colours = [c / 127.5 - 1 for rgb in (person.skin, person.hair_rgb, person.eye_rgb, person.frame) for c in rgb]
    shapes = [person.shapes[name] * 2 - 1 for name in SHAPES]
    return np.array([*shapes, person.tone / 4.5 - 1, person.age * 2 - 1, *colours], dtype=np.float32)


def tone_of(numbers: np.ndarray) -> float:
    """A person's tone, 0..9, out of their `measures`."""
    return float(numbers[MEASURES.index("tone")] + 1) * 4.5


def care_for(numbers: np.ndarray) -> float:
    """How much more a face must count than its numbers say, from a person's `measures`: 1 for light skin to MOST_CARE.

    What is drawn on dark skin differs little from it in numbers, and squared errors would leave it out.
    """
    first = MEASURES.index("skin_r")
    brightness = (numbers[first : first + 3].mean() + 1) * 127.5  # of 255
    return float(np.clip(CARED_FOR / brightness, 1, MOST_CARE))


def tone_group(tone: float) -> int:
    """Of a tone of 0..9, 0..4, lightest first."""
    return round(tone) // TONES_A_GROUP


def _between(scale: tuple[Rgb, ...], place: float) -> Rgb:
    low = int(place)
    high, share = min(low + 1, len(scale) - 1), place - low
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(scale[low], scale[high], strict=True))
    return (red, green, blue)


def _lively(swatch: Rgb) -> Rgb:
    """A swatch is matt; blood shows through light skin."""
    share = 0.3 * (sum(swatch) / 765) ** 2
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(swatch, (236, 160, 126), strict=True))
    return (red, green, blue)


def _jitter(rng: np.random.Generator, rgb: Rgb, spread: float, sigma: float) -> Rgb:
    red, green, blue = np.clip(np.array(rgb) * rng.uniform(1 - spread, 1 + spread) + rng.normal(0, sigma, 3), 8, 250)
    return (float(red), float(green), float(blue))
