"""An aligned face in, an embedding out."""

import numpy as np

from models.faces.align import TEMPLATE_SIZE, aligned
from models.faces.face import Rgb
from models.faces.files import FacesUnavailable
from models.faces.network import Network, planes

EMBEDDING_WIDTH = 512  # what PhotoMaker v2's and InstantID's resamplers read


class Recogniser:
    """One ArcFace-shaped network that reads -1..1, and the name of its space. Thread-safe: keeps no state."""

    def __init__(self, network: Network, space: str, *, smooth: bool = False) -> None:
        self.space = space
        self._network = network
        self._smooth = smooth
        fixed = network.fixed_size
        self._size = fixed[0] if fixed else TEMPLATE_SIZE
        self._try_out()

    def embedding(self, picture: Rgb, landmarks: np.ndarray) -> np.ndarray:
        """[512] float32, raw: PhotoMaker and InstantID want its length as the network made it."""
        return self.embedding_of_crop(aligned(picture, landmarks, self._size, self._smooth))

    def embedding_of_crop(self, crop: Rgb) -> np.ndarray:
        """An aligned crop [112, 112, 3] -> [512] float32."""
        batch = planes(crop, 127.5, 127.5)[None]  # [1, 3, 112, 112]
        return self._network(batch)[0].reshape(-1).astype(np.float32)

    def _try_out(self) -> None:
        """One run at the start: it pays the network's first-run cost before a person waits, and checks its width."""
        width = self.embedding_of_crop(np.zeros((self._size, self._size, 3), np.uint8)).size
        if width != EMBEDDING_WIDTH:
            raise FacesUnavailable(
                f"the recogniser of {self.space} gives {width} numbers; {EMBEDDING_WIDTH} are needed"
            )
