"""The search over sizes, and that insightface's classes on our canvas and crops give what `detect` and `get` gave."""

from pathlib import Path
from types import SimpleNamespace

import face_graphs
import numpy as np
import pytest
import skimage.data
from face_views import LANDMARKS, SCRFD_SEED, views

from models.faces.arcface import ArcFace
from models.faces.files import CheckedFile
from models.faces.network import Network
from models.faces.scrfd import Scrfd

GOLDEN = Path(__file__).parents[2] / "golden" / "faces" / "insightface.npz"


def network(data: bytes) -> Network:
    return Network(data, device="cpu", threads=1)


def nothing(width: int, height: int) -> list[np.ndarray]:
    """The nine outputs of a detector that sees nobody."""
    cells = [width // stride * (height // stride) * 2 for stride in (8, 16, 32)]
    return [np.zeros((count, columns), np.float32) for columns in (1, 4, 10) for count in cells]


class Session:
    """onnxruntime's part of a detector, and the network around it."""

    input_type = np.float32

    def __init__(self, fixed_size: tuple[int, int] | None = None) -> None:
        self.fixed_size = fixed_size
        self.session = self

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="image", shape=[1, 3, *(self.fixed_size or ("height", "width"))[::-1]])]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=str(number), shape=["n", 1]) for number in range(9)]

    def run(self, _names: list[str], images: dict[str, np.ndarray]) -> list[np.ndarray]:
        height, width = images["image"].shape[2:]
        return self.outputs(width, height)

    def outputs(self, width: int, height: int) -> list[np.ndarray]:
        raise NotImplementedError


class Blind(Session):
    """A detector network that sees nothing above `largest`, and remembers the sizes it was shown."""

    def __init__(self, largest: int, fixed_size: tuple[int, int] | None = None) -> None:
        super().__init__(fixed_size)
        self.largest = largest
        self.shown: list[int] = []

    def outputs(self, width: int, height: int) -> list[np.ndarray]:
        self.shown.append(width)
        outputs = nothing(width, height)
        if width <= self.largest:
            outputs[2][0] = 0.9
        for reaches in outputs[3:]:
            reaches[:] = 1
        return outputs


class OneAnchor(Session):
    """64 x 64 with one face: stride 16, row 2, column 3, second anchor."""

    def outputs(self, width: int, height: int) -> list[np.ndarray]:
        outputs = nothing(width, height)
        anchor = (2 * 4 + 3) * 2 + 1
        outputs[1][anchor] = 0.75
        outputs[4][anchor] = (1, 2, 3, 4)
        outputs[7][anchor] = np.arange(10)
        return outputs


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

    data = face_graphs.recogniser()
    recogniser = ArcFace(network(data), CheckedFile(Path("recogniser.onnx"), data, "", None), "fake")
    embedding = recogniser.embedding(skimage.data.astronaut(), LANDMARKS)

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


@pytest.mark.parametrize(
    ("largest", "shown"),
    [(320, [320]), (256, [320, 256]), (576, [320]), (0, [320, 256, 640, 576, 512, 448, 384])],
)
def test_a_small_first_size_is_looked_at_first_and_nobody_is_lost(largest, shown):
    blind = Blind(largest=largest)
    found = Scrfd(blind, first_side=320).detect(skimage.data.astronaut())  # pyright: ignore[reportArgumentType]
    assert blind.shown == shown
    assert bool(found) == (largest > 0)


def test_a_graph_of_one_size_is_shown_that_size_only():
    fixed = Blind(largest=0, fixed_size=(320, 320))

    Scrfd(fixed).detect(skimage.data.astronaut())  # pyright: ignore[reportArgumentType]

    assert fixed.shown == [320]


def test_a_cells_box_and_landmarks_are_offsets_in_strides():
    one = Scrfd(OneAnchor((64, 64)))  # pyright: ignore[reportArgumentType]

    [face] = one.detect(np.zeros((64, 64, 3), np.uint8))

    assert face.box == (48 - 16, 32 - 32, 48 + 48, 32 + 64)
    assert face.landmarks[1].tolist() == [48 + 2 * 16, 32 + 3 * 16]
    assert face.score == 0.75


@pytest.mark.parametrize("shape", [(1, 2000, 3), (2000, 1, 3)])
def test_a_picture_thinner_than_a_pixel_of_the_canvas_has_no_face(shape: tuple[int, int, int]):
    assert Scrfd(Blind(largest=0)).detect(np.zeros(shape, np.uint8)) == []  # pyright: ignore[reportArgumentType]
