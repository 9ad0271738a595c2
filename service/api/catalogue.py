"""GET /v1/styles and GET /v1/models: what a caller can choose from.

The models page has three readers, and each finds its own list in it: `models` is ours, `data` the `openai` client's,
`results` the `replicate` client's.
"""

from typing import Annotated, Any, Literal

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Meta, Struct

from models.wire.bundle_info import BundleInfo
from models.wire.reports import Ready
from service.api.front import Front
from service.api.replicate.catalogue import PublishedModels, model_object
from service.api.replicate.objects import ModelObject
from service.errors import NotFound
from service.styles import SUBJECTS, Style

SINCE = 1795219200  # 2026-11-21, the first release; the openai client wants a date

AnyRequest = Request[Any, Any, Any]


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


class ModelName(Struct, frozen=True, kw_only=True):
    """A name that the openai client can send as `model`: the bundle, or one of its adapters."""

    id: str
    object: Literal["model"] = "model"
    created: int = SINCE
    owned_by: str = "proofsheet"


class ModelsAnswer(Struct, frozen=True, kw_only=True):
    """Every warm worker; empty while they start. `data` has their names, `results` what a prediction can name."""

    object: Literal["list"] = "list"
    models: list[ModelAnswer]
    data: list[ModelName]
    results: list[ModelObject]
    next: None = None
    previous: None = None


@get("/v1/styles", operation_id="listStyles", summary="The styles", sync_to_thread=False)
def list_styles(front: NamedDependency[Front]) -> StylesAnswer:
    """The portrait styles, with their prompts and defaults."""
    subjects = [word for word in SUBJECTS if front.word_list.find(word) is None]
    return StylesAnswer(default=front.styles.default, subjects=subjects, styles=list(front.styles))


@get("/v1/models", operation_id="listModels", summary="The warm models", sync_to_thread=False)
def list_models(request: AnyRequest, front: NamedDependency[Front]) -> ModelsAnswer:
    """The warm bundles: adapters, samplers, sizes, device, and the licence of every loaded file."""
    ready = front.jobs.workers.describe()
    names = ModelAnswer.__struct_fields__
    adapters = {adapter.name for one in ready for adapter in one.bundle.adapters}
    published = [model for model in PublishedModels() if ready and model.is_warm(adapters)]
    return ModelsAnswer(
        models=[ModelAnswer(**{name: getattr(one, name) for name in names}) for one in ready],
        data=[ModelName(id=name) for name in model_names(ready)],
        results=[model_object(model, str(request.base_url)) for model in published],
    )


@get("/v1/models/{model_id:str}", operation_id="getModel", summary="One model, for the openai client")
async def get_model(front: NamedDependency[Front], model_id: FromPath[str]) -> ModelName:
    """A bundle's or an adapter's name, if it is warm."""
    names = model_names([front.jobs.warm(), *front.jobs.workers.describe()])
    if model_id not in names:
        message = f"There is no model of that name here: choose {', '.join(names)}."
        raise NotFound("model_not_found", message, extra={"allowed": names})
    return ModelName(id=model_id)


def model_names(ready: list[Ready]) -> list[str]:
    """Bundles first, each name once."""
    bundles = [one.bundle for one in ready]
    names = [bundle.name for bundle in bundles]
    return list(dict.fromkeys([*names, *(adapter.name for bundle in bundles for adapter in bundle.adapters)]))
