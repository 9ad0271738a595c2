"""SCRFD's decoding against insightface's own, on a seeded graph of the same outputs."""

from pathlib import Path

import face_graphs
import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS, SCRFD_SEED, views

from models.faces.network import Network
from models.faces.recogniser import Recogniser
from models.faces.scrfd import Scrfd, decoded

GOLDEN = Path(__file__).parents[2] / "golden" / "faces" / "insightface.npz"


def network(data: bytes) -> Network:
    return Network(data, device="cpu", threads=1)


class Blind:
    """A detector network that sees nothing above `largest`, and remembers the sizes it was shown."""

    def __init__(self, largest: int, fixed_size: tuple[int, int] | None = None) -> None:
        self.largest = largest
        self.fixed_size = fixed_size
        self.shown: list[int] = []

    def __call__(self, images: np.ndarray) -> list[np.ndarray]:
        side = images.shape[-1]
        self.shown.append(side)
        cells = [(side // stride) ** 2 * 2 for stride in (8, 16, 32)]
        scores = [np.zeros((count, 1), np.float32) for count in cells]
        if side <= self.largest:
            scores[2][0] = 0.9
        boxes = [np.ones((count, 4), np.float32) for count in cells]
        return [*scores, *boxes, *(np.ones((count, 10), np.float32) for count in cells)]


@pytest.mark.parametrize("batched", [False, True], ids=["no batch axis", "batch axis"])
@pytest.mark.parametrize("view", ["square", "wide", "tall"])
def test_faces_equal_insightfaces(view: str, batched: bool):
    golden = np.load(GOLDEN)

    faces = Scrfd(network(face_graphs.scrfd(SCRFD_SEED, batched=batched))).detect(views()[view])

    expected = golden[f"{view}_boxes"]
    found = np.array([[*face.box, face.score] for face in faces])
    assert len(expected) > 5
    assert found == pytest.approx(expected, abs=1e-2)  # pixels; bit-equal where it was made
    landmarks = np.stack([face.landmarks for face in faces])
    assert landmarks == pytest.approx(golden[f"{view}_landmarks"], abs=1e-2)


def test_embedding_equals_insightfaces_before_normalisation():
    expected = np.load(GOLDEN)["embedding"]

    embedding = Recogniser(network(face_graphs.recogniser()), "fake").embedding(skimage.data.astronaut(), LANDMARKS)

    assert embedding.shape == (512,)
    assert embedding.dtype == np.float32
    assert embedding == pytest.approx(expected, abs=5e-3)  # of values to 3.2: a pixel level in the crop is 1e-3
    assert np.linalg.norm(embedding) > 2


def test_search_goes_down_until_a_face_appears():
    blind = Blind(largest=448)

    faces = Scrfd(blind).detect(skimage.data.astronaut())  # pyright: ignore[reportArgumentType]

    assert blind.shown == [640, 576, 512, 448]
    assert len(faces) == 1


def test_search_starts_at_the_top_again_for_the_next_picture():
    blind = Blind(largest=576)
    detector = Scrfd(blind)  # pyright: ignore[reportArgumentType]
    detector.detect(skimage.data.astronaut())

    detector.detect(skimage.data.astronaut())

    assert blind.shown == [640, 576, 640, 576]


def test_search_that_finds_nothing_ends_with_no_face():
    blind = Blind(largest=0)

    assert Scrfd(blind).detect(skimage.data.astronaut()) == []  # pyright: ignore[reportArgumentType]
    assert blind.shown[-1] == 256


def test_a_small_first_size_is_looked_at_first_and_nobody_is_lost():
    for largest, shown in ((320, [320]), (256, [320, 256]), (576, [320])):
        blind = Blind(largest=largest)
        assert Scrfd(blind, first_side=320).detect(skimage.data.astronaut())  # pyright: ignore[reportArgumentType]
        assert blind.shown == shown
    nobody = Blind(largest=0)
    Scrfd(nobody, first_side=320).detect(skimage.data.astronaut())  # pyright: ignore[reportArgumentType]
    assert nobody.shown == [320, 256, 640, 576, 512, 448, 384]


def test_a_graph_of_one_size_is_shown_that_size_only():
    fixed = Blind(largest=0, fixed_size=(320, 320))

    Scrfd(fixed).detect(skimage.data.astronaut())  # pyright: ignore[reportArgumentType]

    assert fixed.shown == [320]


def test_a_cells_box_and_landmarks_are_offsets_in_strides():
    outputs = [np.zeros(((64 // stride) ** 2 * 2, width), np.float32) for width in (1, 4, 10) for stride in (8, 16, 32)]
    anchor = (2 * 4 + 3) * 2 + 1  # stride 16: row 2, column 3, second anchor
    outputs[1][anchor] = 0.75
    outputs[4][anchor] = (1, 2, 3, 4)
    outputs[7][anchor] = np.arange(10)

    boxes, landmarks, scores = decoded(outputs, 64, 64)

    assert boxes.tolist() == [[48 - 16, 32 - 32, 48 + 48, 32 + 64]]
    assert landmarks[0, 1].tolist() == [48 + 2 * 16, 32 + 3 * 16]
    assert scores.tolist() == [0.75]
