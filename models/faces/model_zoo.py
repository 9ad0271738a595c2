"""insightface's own classes, imported when a pack is asked for and not before."""

from typing import Any

from models.faces.files import FacesUnavailable

REQUIREMENT = "insightface>=2.1,<3"


def model_zoo() -> Any:
    """The module `insightface.model_zoo`, whose classes run the session that they are handed and download nothing.

    Raises FacesUnavailable where the package, or one that it imports, is not installed.
    """
    try:
        import insightface.model_zoo  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise FacesUnavailable(
            f"insightface's packs are read by its package, which cannot be imported ({error}): "
            f"pip install 'proofsheet[insightface]' && pip install --no-deps '{REQUIREMENT}'"
        ) from error
    return insightface.model_zoo
