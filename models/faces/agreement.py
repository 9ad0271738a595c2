"""Whether the faces of several selfies are one person's."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from models.faces.face import Face

# Cosines below which two faces don't speak for one person; a space that isn't here is not judged. The first line lies
# under the least that was measured of one person's photographs, 0.40, in a space that was trained on drawings and
# hardly parts strangers (scripts/measure_agreement.py, DECISIONS.md). The others lie under what real photos of one
# person have among themselves (0.30 to 0.77, WithAnyone's MultiID-Bench) and well over strangers, who are near 0; not
# measured here.
SAME_PERSON = {
    "proofsheet-tiny": 0.35,
    "antelopev2": 0.2,
    "buffalo_l": 0.2,
    "auraface": 0.2,
}


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The selfies are of several people. Groups hold the selfies' indexes, the largest group first."""

    groups: list[list[int]]
    likeness: list[list[float]]  # cosine of each selfie's face with each other's
    nearest: float  # the largest cosine between two groups
    threshold: float

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two selfies of different groups, in their order."""
        group_of = {member: group for group, members in enumerate(self.groups) for member in members}
        return [pair for pair in combinations(sorted(group_of), 2) if group_of[pair[0]] != group_of[pair[1]]]


def disagreement(faces: Sequence[Face]) -> Disagreement | None:
    """None for faces of one person, and where no recogniser says.

    Likeness need not hold for every pair: a frontal face and a profile of one person may be far apart, but pictures in
    between link them. What falls into groups without a link is several people.
    """
    space = faces[0].space
    embeddings = [face.embedding for face in faces if face.embedding is not None and face.space == space]
    threshold = SAME_PERSON.get(space or "")
    if threshold is None or len(embeddings) < len(faces):
        return None
    directions = np.stack([embedding / np.linalg.norm(embedding) for embedding in embeddings])
    likeness = directions @ directions.T  # [n, n]
    groups = _linked(likeness >= threshold)
    if len(groups) == 1:
        return None
    apart = np.ones_like(likeness, bool)
    for group in groups:
        apart[np.ix_(group, group)] = False
    rounded = [[round(float(cosine), 3) for cosine in row] for row in likeness]
    return Disagreement(groups, rounded, round(float(likeness[apart].max()), 3), threshold)


def _linked(links: np.ndarray) -> list[list[int]]:
    """The connected groups of a symmetric [n, n] bool matrix, largest first."""
    left, groups = list(range(len(links))), []
    while left:
        group = [left.pop(0)]
        for member in group:  # grows while we walk it
            found = [other for other in left if links[member, other]]
            left = [other for other in left if other not in found]
            group += found
        groups.append(sorted(group))
    return sorted(groups, key=len, reverse=True)
