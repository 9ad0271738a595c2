"""GET /v1/styles and GET /v1/models: what a caller can choose from."""

from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from msgspec import Meta, Struct

from models.messages import BundleInfo
from service.api.front import Front
from service.styles import SUBJECTS, Style


class StylesAnswer(Struct, frozen=True, kw_only=True):
    """The catalogue. `default` is used when a request names neither a style nor a prompt."""

    default: str
    subjects: Annotated[list[str], Meta(description="The words that `subject` may be.")]
    styles: list[Style]


class ModelAnswer(Struct, frozen=True, kw_only=True):
    """One warm worker: where it runs, what it holds, and what its files may be used for."""

    device: str
    max_rows: int
    face_analyzer: str
    load_seconds: float
    warm_up_seconds: float
    bundle: BundleInfo


class ModelsAnswer(Struct, frozen=True, kw_only=True):
    """Every warm worker; empty while they start."""

    models: list[ModelAnswer]


@get("/v1/styles", operation_id="listStyles", summary="The styles", sync_to_thread=False)
def list_styles(front: NamedDependency[Front]) -> StylesAnswer:
    """The portrait styles, with their prompts and defaults."""
    return StylesAnswer(default=front.styles.default, subjects=list(SUBJECTS), styles=list(front.styles))


@get("/v1/models", operation_id="listModels", summary="The warm models", sync_to_thread=False)
def list_models(front: NamedDependency[Front]) -> ModelsAnswer:
    """The warm bundles: adapters, samplers, sizes, device, and the licence of every loaded file."""
    ready = front.jobs.workers.describe()
    names = ModelAnswer.__struct_fields__
    return ModelsAnswer(models=[ModelAnswer(**{name: getattr(one, name) for name in names}) for one in ready])
