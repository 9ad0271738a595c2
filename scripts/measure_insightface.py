"""What goes through insightface's own code, what stays ours, and what each costs: models/faces/DECISIONS.md.

python -m scripts.measure_insightface [--rounds 7]. Needs the package (pyproject.toml says how it is installed). Times
are the process's CPU, in rounds taken in turns; the detector's network is left out, the recogniser is the bundled one.
"""

import importlib.metadata
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import click
import cv2
import numpy as np
import skimage.data

from models.faces.align import aligned
from models.faces.arcface import ArcFace
from models.faces.files import CheckedFile
from models.faces.model_zoo import model_zoo
from models.faces.network import Network
from models.faces.recogniser import Recogniser
from models.faces.scrfd import Scrfd
from models.weights.manifest import PACKAGE

RECOGNISER = PACKAGE / "tiny" / "faces" / "recogniser.onnx"
LANDMARKS = np.array([[203, 104], [248, 104], [224, 128], [204, 143], [243, 144]], np.float32)  # on the astronaut
SIDE = 640
IMPORT = """
import models.faces
from resource import RUSAGE_SELF, getrusage
before = getrusage(RUSAGE_SELF)
import insightface.model_zoo
after = getrusage(RUSAGE_SELF)
print(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, (after.ru_maxrss - before.ru_maxrss) / 1024)
"""


class Session:
    """A detector of any size that takes no time: random boxes, of which one in a thousand is a face."""

    input_type, fixed_size = np.float32, None

    def __init__(self) -> None:
        self.session = self
        rng = np.random.default_rng(1)
        cells = [(SIDE // stride) ** 2 * 2 for stride in (8, 16, 32)]
        faces = [rng.uniform(0, 0.5005, (count, 1)) for count in cells]
        rest = [rng.uniform(0, 9, (count, width)) for width in (4, 10) for count in cells]
        self._outputs = [values.astype(np.float32) for values in (*faces, *rest)]

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="image", shape=[1, 3, "height", "width"])]

    def get_outputs(self) -> list[Any]:
        return [SimpleNamespace(name=str(number), shape=["n", 1]) for number in range(9)]

    def run(self, _names: list[str], _images: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self._outputs


@click.command(help=__doc__)
@click.option("--rounds", default=7, show_default=True)
def main(rounds: int) -> None:
    cv2.setNumThreads(1)
    needs = importlib.metadata.requires("insightface") or []
    print(f"insightface {importlib.metadata.version('insightface')} asks for", *(n for n in needs if "extra" not in n))
    imports = np.array([imported() for _ in range(rounds)])
    print("import, after models.faces: {:.2f} s of CPU, {:.0f} MiB".format(*np.median(imports, axis=0)))
    default = model_zoo().ArcFaceONNX(str(RECOGNISER)).session.get_session_options().intra_op_num_threads
    print(f"threads of a session of its own: {default} (0: one per core)")
    detecting(rounds)
    aligning(rounds)
    recognising(rounds)


def imported() -> tuple[float, float]:
    """CPU seconds and MiB that the import takes in a fresh process."""
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    seconds, mebibytes = map(float, done.stdout.split())
    return seconds, mebibytes


def detecting(rounds: int) -> None:
    theirs, ours = model_zoo().SCRFD(session=Session()), Scrfd(Session())  # pyright: ignore[reportArgumentType]
    for side in (512, 1536):  # the second is the largest that a front hands on
        picture = cv2.resize(skimage.data.astronaut(), (side, side)).astype(np.uint8)
        ways = {
            "detect, of the whole picture in BGR": lambda picture=picture: theirs.detect(bgr(picture), (SIDE, SIDE)),
            "forward and nms, on our canvas": lambda picture=picture: ours.detect(picture),
        }
        told(f"detector's own part at {side}", ways, rounds, repeats=20)


def aligning(rounds: int) -> None:
    from insightface.utils import face_align  # pyright: ignore[reportMissingImports]

    picture = skimage.data.astronaut()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        print("its matrix for landmarks in one point:", face_align.estimate_norm(np.ones((5, 2))).tolist())
    print(*{str(warning.message) for warning in caught})
    warnings.simplefilter("ignore", FutureWarning)
    ways = {"its crop": lambda: face_align.norm_crop(picture, LANDMARKS), "ours": lambda: aligned(picture, LANDMARKS)}
    told("alignment", ways, rounds, repeats=300)


def recognising(rounds: int) -> None:
    checked = CheckedFile(RECOGNISER, RECOGNISER.read_bytes(), "", None)
    network = Network(checked.data, device="cpu", threads=1)
    crop = aligned(skimage.data.astronaut(), LANDMARKS)
    ours, theirs = Recogniser(network, "ours"), ArcFace(network, checked, "theirs")
    apart = np.abs(ours.embedding_of_crop(crop) - theirs.embedding_of_crop(crop)).max()
    ways = {
        "its class": lambda: theirs.embedding_of_crop(crop),
        "ours": lambda: ours.embedding_of_crop(crop),
        "the network alone": lambda: network(np.zeros((1, 3, 112, 112), np.float32)),
        "reading the file once more": lambda: model_zoo().ArcFaceONNX(BytesIO(checked.data), session=network.session),
    }
    told(f"embedding of a crop, at most {apart} apart", ways, rounds, repeats=100)


def told(what: str, ways: dict[str, Callable[[], object]], rounds: int, repeats: int) -> None:
    taken = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(milliseconds(way, repeats))
    print(f"{what}:", "; ".join(f"{name} {np.median(times):.2f} ms" for name, times in taken.items()))


def milliseconds(way: Callable[[], object], repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        way()
    return (time.process_time() - start) / repeats * 1000


def bgr(picture: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)


if __name__ == "__main__":
    main()
