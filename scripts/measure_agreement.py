"""How well the bundled recogniser tells one person's selfies from several people's: why SAME_PERSON is what it is.

python -m scripts.measure_agreement [--people 40] [--photos FOLDER]. Draws people whom nothing was trained on, needs the
`train` extra. FOLDER has a folder of photographs for each person; only figures leave this script.
"""

from itertools import combinations
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps

from models.faces.agreement import SAME_PERSON, disagreement
from models.faces.bundled import SPACE, load_bundled
from models.faces.face import Face
from models.faces.network import Network
from models.faces.recogniser import Recogniser
from models.weights.manifest import PACKAGE
from scripts.train_tiny.drawing.person import draw_identity
from scripts.train_tiny.drawing.pose import selfie_pose
from scripts.train_tiny.drawing.render import Render, render
from scripts.train_tiny.drawing.style import plain_style
from scripts.train_tiny.judging.people import APART

SELFIES = 8
OUTPUT_SIDE = 1536
SEED = 4177


@click.command(help=__doc__)
@click.option("--people", default=40, show_default=True)
@click.option("--photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(people: int, photos: Path | None) -> None:
    if photos is not None:
        report_photos(photo_sets(photos))
    sets = draw_sets(people)
    space = sets[0][0].space
    cosines = [cosine_table(faces) for faces in sets]
    same = np.concatenate([table[np.triu_indices(len(table), 1)] for table in cosines])
    first = cosine_table([faces[0] for faces in sets])
    different = first[np.triu_indices(len(first), 1)]
    print(f"{space}: {len(sets)} people, {len(same)} pairs of one person, {len(different)} of two")
    print_percentiles({"one person": same, "two people": different})
    for threshold in sorted({0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, SAME_PERSON.get(space or "", 0.3)}):
        SAME_PERSON[space or ""] = threshold
        print(f"at {threshold:.2f}:", *(f"{name} {rate(chosen):.3f}" for name, chosen in questions(sets).items()))


def report_photos(sets: list[list[Face]]) -> None:
    """Likeness of every two photographs of one person, and of the first ones of every two people."""
    same = np.concatenate([table[np.triu_indices(len(table), 1)] for table in map(cosine_table, sets)])
    different = np.array([cosine_table([a[0], b[0]])[0, 1] for a, b in combinations(sets, 2)])
    print(f"photographs: {len(sets)} people, {len(same)} pairs of one person, {len(different)} of two")
    print_percentiles({"one person": same, "two people": different})
    for threshold in (0.1, 0.2, 0.3, 0.35, 0.4, 0.5):
        print(f"at {threshold:.2f}: one person apart {(same < threshold).mean():.3f}", end=", ")
        print(f"two people apart {(different < threshold).mean():.3f}")


def photo_sets(folder: Path) -> list[list[Face]]:
    """The largest face of each photograph in which one is found, by person."""
    analyzer = load_bundled(PACKAGE / "tiny", device="cpu", threads=1)
    sets = []
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        found = [analyzer.analyze(read(path)) for path in sorted(person.iterdir())]
        sets.append([faces[0] for faces in found if faces])
    return [faces for faces in sets if faces]


def read(path: Path) -> np.ndarray:
    """As large as a decoder makes it."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    upright.thumbnail((OUTPUT_SIDE, OUTPUT_SIDE))
    return np.asarray(upright)


def print_percentiles(groups: dict[str, np.ndarray]) -> None:
    for name, values in groups.items():
        print(name, *(f"p{q}={np.percentile(values, q):.3f}" for q in (0, 0.5, 1, 5, 50, 95, 99, 99.5)))


def questions(sets: list[list[Face]]) -> dict[str, list[list[Face]]]:
    """Sets to be judged, by what a refusal of them would be."""
    following = [*sets[1:], sets[0]]
    return {
        "2 of one refused": [faces[:2] for faces in sets],
        "8 of one refused": sets,
        "2 of two refused": [[a[0], b[0]] for a, b in zip(sets, following, strict=True)],
        "7 and a stranger refused": [[*a[:7], b[0]] for a, b in zip(sets, following, strict=True)],
        "4 and 4 refused": [[*a[:4], *b[:4]] for a, b in zip(sets, following, strict=True)],
        "8 strangers refused": [[sets[(i + k * 7) % len(sets)][0] for k in range(8)] for i in range(len(sets))],
    }


def rate(chosen: list[list[Face]]) -> float:
    return float(np.mean([disagreement(faces) is not None for faces in chosen]))


def draw_sets(people: int) -> list[list[Face]]:
    """SELFIES of each person, with the landmarks as drawn."""
    graph = (PACKAGE / "tiny" / "faces" / "recogniser.onnx").read_bytes()
    recogniser = Recogniser(Network(graph, device="cpu", threads=1), SPACE, smooth=True)
    sets: list[list[Face]] = []
    for index in range(people):
        rng = np.random.default_rng([SEED, APART + index])
        person = draw_identity(rng, index)
        drawn = [render(person, plain_style(rng), selfie_pose(rng)) for _ in range(SELFIES)]
        sets.append([embedded(one, recogniser) for one in drawn])
    return sets


def embedded(one: Render, recogniser: Recogniser) -> Face:
    embedding = recogniser.embedding(one.pixels, one.landmarks)
    return Face((0.0, 0.0, 256.0, 256.0), one.landmarks, 1.0, embedding, recogniser.space)


def cosine_table(faces: list[Face]) -> np.ndarray:
    stacked = np.stack([face.embedding for face in faces if face.embedding is not None])
    unit = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    return unit @ unit.T


if __name__ == "__main__":
    main()
