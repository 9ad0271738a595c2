"""What portraits of a group of people are worth: the judges' readings, held against who sat and what was ordered."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.train_tiny.drawing.person import TONES_A_GROUP, tone_group
from scripts.train_tiny.judging.detail import face_detail
from scripts.train_tiny.judging.people import Sitter
from scripts.train_tiny.judging.reading import Reading, visible_factors
from scripts.train_tiny.judging.skin import skin_ita

DESCRIPTION = ("hair", "hair_colour", "eye_colour", "facial_hair", "glasses", "feminine")
SMALL_MARKS = {"freckles": "no", "mole": "none", "earrings": "no", "parting": "left"}  # and how "not there" is called
ORDERED = ("garment", "colour", "place", "art")


@dataclass(frozen=True, slots=True)
class Seen:
    """A portrait of one sitter, and what the judges say of it."""

    portrait: np.ndarray
    landmarks: np.ndarray  # [5, 2]
    who: Reading
    style: dict[str, str]


Round = Sequence[Seen]  # one portrait of every sitter, in their order


class Panel:
    """The sitters, and a gallery of their selfies in which a portrait is to find its own."""

    def __init__(self, sitters: Sequence[Sitter], gallery: np.ndarray) -> None:
        """`gallery` [n, 128]: the likeness judge's embedding of a selfie of each sitter that the engine never sees."""
        self._sitters = sitters
        self._gallery = gallery

    def scores(self, rounds: Sequence[Round]) -> dict[str, object]:
        """Means over two rounds or more of the same orders; `diversity` is between the first two."""
        cosines = [self._cosines(seen) for seen in rounds]  # [n, n] each
        nearer = np.stack([_nearer(c) for c in cosines])  # [rounds, n]
        attributes, styles = self.attributes(rounds), self._styles(rounds)
        others = ~np.eye(len(self._sitters), dtype=bool)
        return {
            "top1": float((nearer < 1).mean()),
            "top5": float((nearer < 5).mean()),
            "top1_by_tone": self.by_tone((nearer < 1).mean(axis=0)),
            "likeness_same": _mean(c.diagonal().mean() for c in cosines),
            "likeness_other": _mean(c[others].mean() for c in cosines),
            "attribute_agreement": _mean(attributes.values()),
            "style_obedience": _mean(styles[name] for name in ORDERED if name in styles),
            "detail": self._detail(rounds),
            "attributes": attributes,
            "small_marks": self._small_marks(rounds),
            "styles": styles,
            "diversity_pixels": _mean(_difference(a, b) for a, b in zip(*rounds[:2], strict=True)),
            "diversity_cosine": _mean(
                float(a.who.embedding @ b.who.embedding) for a, b in zip(*rounds[:2], strict=True)
            ),
        }

    def top1(self, seen: Round) -> float:
        """Share of portraits whose nearest selfie is their own person's."""
        return float((_nearer(self._cosines(seen)) < 1).mean())

    def attributes(self, rounds: Sequence[Round]) -> dict[str, float]:
        """Share of portraits on which a factor is read as it was drawn, where the style shows it."""
        hits: dict[str, list[bool]] = {name: [] for name in DESCRIPTION}
        for sitter, seen in self._pairs(rounds):
            for name in visible_factors(sitter.wanted.style) & hits.keys():
                hits[name].append(seen.who.factors[name] == sitter.truth[name])
        return {name: _mean(right) for name, right in hits.items() if right}

    def ita_shift(self, neutral: Round) -> dict[str, float]:
        """Degrees by tone group, signed means: above zero is lighter than drawn. Portraits of the neutral orders."""
        targets = [sitter.neutral.target for sitter in self._sitters]
        drawn = [skin_ita(target.pixels, target.landmarks) for target in targets]
        made = [skin_ita(seen.portrait, seen.landmarks) for seen in neutral]
        return self.by_tone([m - d for m, d in zip(made, drawn, strict=True)])

    def by_tone(self, numbers: Iterable[float]) -> dict[str, float]:
        """Means of one number for each sitter, by groups of tones, lightest first."""
        groups: dict[int, list[float]] = {}
        for sitter, number in zip(self._sitters, numbers, strict=True):
            groups.setdefault(tone_group(sitter.tone) * TONES_A_GROUP + 1, []).append(number)
        return {f"monk {low}-{low + TONES_A_GROUP - 1}": _mean(groups[low]) for low in sorted(groups)}

    def _detail(self, rounds: Sequence[Round]) -> dict[str, float]:
        """What there is to see in the faces, of what there is in drawings of them, by tone group."""
        shares = [
            face_detail(seen.portrait, seen.landmarks)
            / face_detail(sitter.wanted.target.pixels, sitter.wanted.target.landmarks)
            for sitter, seen in self._pairs(rounds)
        ]
        return self.by_tone(np.reshape(shares, (len(rounds), -1)).mean(axis=0))

    def _pairs(self, rounds: Sequence[Round]) -> Iterator[tuple[Sitter, Seen]]:
        for seen in rounds:
            yield from zip(self._sitters, seen, strict=True)

    def _cosines(self, seen: Round) -> np.ndarray:
        return np.stack([one.who.embedding for one in seen]) @ self._gallery.T

    def _small_marks(self, rounds: Sequence[Round]) -> dict[str, float]:
        """Mean of the recalls of "there" and "not there"; a mark that nobody has is left out."""
        marks = {}
        for name, absent in SMALL_MARKS.items():
            right: dict[bool, list[bool]] = {True: [], False: []}
            for sitter, seen in self._pairs(rounds):
                there = sitter.truth[name] != absent
                right[there].append((seen.who.factors[name] != absent) == there)
            if all(right.values()):
                marks[name] = _mean(_mean(hits) for hits in right.values())
        return marks

    def _styles(self, rounds: Sequence[Round]) -> dict[str, float]:
        hits: dict[str, list[bool]] = {}
        for sitter, seen in self._pairs(rounds):
            style = sitter.wanted.style
            for name in seen.style.keys() & visible_factors(style):
                hits.setdefault(name, []).append(seen.style[name] == getattr(style, name))
        return {name: _mean(right) for name, right in sorted(hits.items())}


def _nearer(cosines: np.ndarray) -> np.ndarray:
    """[n]: how many other people are nearer than the own one, who is on the diagonal of [n, n]."""
    return (cosines > cosines.diagonal()[:, None]).sum(axis=1)


def _difference(a: Seen, b: Seen) -> float:
    return float(np.abs(a.portrait.astype(float) - b.portrait).mean())


def _mean(numbers: Iterable[float]) -> float:
    return float(np.mean(list(numbers)))
