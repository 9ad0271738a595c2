"""insightface's recogniser, ArcFace (https://arxiv.org/abs/1801.07698), run by insightface's own class.

The crop is ours: `insightface.utils.face_align` gives a matrix of NaN for landmarks in one point, and calls what
scikit-image is about to remove.
"""

from io import BytesIO

import cv2
import numpy as np

from models.faces.align import TEMPLATE_SIZE
from models.faces.face import Rgb
from models.faces.files import CheckedFile
from models.faces.model_zoo import model_zoo
from models.faces.network import Network
from models.faces.recogniser import Recogniser


class ArcFace(Recogniser):
    """Thread-safe: keeps no state.

    `mean` and `std` are stated by whoever knows the file. The class would guess them from the names of the graph's
    first nodes; every file with a known hash takes 127.5 and 127.5, and a pack with a manifest says it there.
    """

    def __init__(
        self, network: Network, checked: CheckedFile, space: str, *, mean: float = 127.5, std: float = 127.5
    ) -> None:
        self._model = model_zoo().ArcFaceONNX(BytesIO(checked.data), session=network.session)
        self._model.input_mean, self._model.input_std = mean, std
        self._model.input_dtype = network.input_type
        self._model.input_size = network.fixed_size or (TEMPLATE_SIZE, TEMPLATE_SIZE)
        super().__init__(network, space)

    def embedding_of_crop(self, crop: Rgb) -> np.ndarray:
        """An aligned crop [112, 112, 3] -> [512] float32."""
        return self._model.get_feat(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)).reshape(-1).astype(np.float32)
