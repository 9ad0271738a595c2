"""The pictures that the tests and the golden arrays share, all made from scikit-image's astronaut."""

import numpy as np
import numpy.typing as npt
import skimage.data

Rgb = npt.NDArray[np.uint8]
SCRFD_SEED = 4  # no score within 0.001 of the threshold in any view, so rounding cannot change which boxes there are
# Her five landmarks, read off with YuNet.
LANDMARKS = np.array(
    [[203.35, 103.62], [247.52, 104.45], [224.10, 127.69], [203.96, 143.14], [242.91, 143.67]], np.float32
)


def views() -> dict[str, Rgb]:
    """Square, wide and tall."""
    astronaut = skimage.data.astronaut()
    return {"square": astronaut, "wide": astronaut[:300], "tall": astronaut[:, 100:350]}
