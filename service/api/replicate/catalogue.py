"""The models that predictions can name, with the versions that callers have pinned.

The hashes are Replicate's own of these models, so that a shop that pinned one keeps it. Every version has the model's
one schema.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from models.wire.bundle_info import BundleInfo
from service.api.forms.fields import flat_struct
from service.api.forms.portrait import PortraitForm
from service.api.forms.values import read_fields
from service.api.replicate import instantid, own, photomaker
from service.api.replicate.objects import ModelObject, VersionObject
from service.api.replicate.translation import Translated
from service.errors import BadInput, BadRequest, NotFound

COG_VERSION = "0.16.0"  # the first that has all we say; clients read old schemas differently
SINCE = "2026-11-21T00:00:00Z"
OUTPUT = {"title": "Output", "type": "array", "items": {"type": "string", "format": "uri"}}

Schema = dict[str, Any]
Translate = Callable[[Mapping[str, Any], BundleInfo], Translated]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedModel:
    """One model as callers know it. The first version is the latest."""

    owner: str
    name: str
    description: str
    adapters: tuple[str, ...]  # of which it needs one; none takes what there is
    versions: tuple[str, ...]
    input_schema: Schema
    translate: Translate

    @property
    def id(self) -> str:
        return f"{self.owner}/{self.name}"

    def is_warm(self, adapters: Collection[str]) -> bool:
        return not self.adapters or any(name in adapters for name in self.adapters)

    def read(self, values: Mapping[str, Any], bundle: BundleInfo) -> Translated:
        """A prediction's input. Raises BadInput."""
        try:
            return self.translate(values, bundle)
        except BadRequest as error:
            raise as_input(error) from None

    @property
    def openapi_schema(self) -> Schema:
        """As Cog writes it: clients look for Input and Output."""
        schemas = {"Input": self.input_schema, "Output": OUTPUT}
        info = {"title": "Cog", "version": "0.1.0"}
        return {"openapi": "3.0.2", "info": info, "paths": {}, "components": {"schemas": schemas}}


def version_object(model: PublishedModel, version: str) -> VersionObject:
    schema = model.openapi_schema
    return VersionObject(id=version, created_at=SINCE, cog_version=COG_VERSION, openapi_schema=schema)


def model_object(model: PublishedModel, base_url: str) -> ModelObject:
    """`base_url` ends with a slash."""
    return ModelObject(
        url=f"{base_url}v1/models/{model.id}",
        owner=model.owner,
        name=model.name,
        description=model.description,
        latest_version=version_object(model, model.versions[0]),
    )


def as_input(error: BadRequest) -> BadInput:
    """A refused field, as Replicate tells it: with 422."""
    return BadInput(error.code, error.message, value=error.value, limit=error.limit, extra=error.extra)


def _schema_of(*structs: type[Struct], without: tuple[str, ...] = ()) -> Schema:
    """The structs' fields as one schema."""
    fields: Schema = {}
    required: list[str] = []
    for struct in structs:
        _, components = msgspec.json.schema_components(
            [flat_struct(struct)], ref_template="#/components/schemas/{name}"
        )
        fields |= components[struct.__name__]["properties"]
        required += components[struct.__name__].get("required", [])
    fields = {name: {"title": name} | schema for name, schema in fields.items() if name not in without}
    return {"title": "Input", "type": "object", "required": required, "properties": fields}


PHOTOMAKER = PublishedModel(
    owner="tencentarc",
    name="photomaker",
    description="Portraits of the person in one to four photos, by PhotoMaker.",
    adapters=photomaker.ADAPTERS,
    versions=("ddfc2b08d209f9fa8c1eca692712918bd449f695dabb4a958da31802a9570fe4",),
    input_schema=_schema_of(photomaker.PhotoMakerInput),
    translate=lambda values, bundle: photomaker.translate(read_fields(photomaker.PhotoMakerInput, values), bundle),
)
PHOTOMAKER_STYLE = PublishedModel(
    owner="tencentarc",
    name="photomaker-style",
    description="The same inputs as tencentarc/photomaker.",
    adapters=photomaker.ADAPTERS,
    versions=("467d062309da518648ba89d226490e02b8ed09b5abc15026e54e31c5a8cd0769",),
    input_schema=PHOTOMAKER.input_schema,
    translate=PHOTOMAKER.translate,
)
INSTANT_ID = PublishedModel(
    owner="zsxkib",
    name="instant-id",
    description="Portraits of the person in one photo, in a chosen pose, by InstantID.",
    adapters=instantid.ADAPTERS,
    versions=(
        "2e4785a4d80dadf580077b2244c8d7c05d8e3faac04a04c02d8e099dd2876789",
        "491ddf5be6b827f8931f088ef10c6d015f6d99685e6454e6f04c8ac298979686",
    ),
    input_schema=_schema_of(instantid.InstantIdInput),
    translate=lambda values, bundle: instantid.translate(read_fields(instantid.InstantIdInput, values), bundle),
)
OWN = PublishedModel(
    owner="proofsheet",
    name="portraits",
    description="All that POST /v1/portraits takes.",
    adapters=(),
    versions=("1",),
    input_schema=_schema_of(own.Pictures, PortraitForm, without=("previews",)),
    translate=own.translate,
)


class PublishedModels:
    """All of them, by name and by version."""

    def __init__(self, models: tuple[PublishedModel, ...] = (PHOTOMAKER, PHOTOMAKER_STYLE, INSTANT_ID, OWN)) -> None:
        self._by_id = {model.id: model for model in models}
        self._by_version = {version: model for model in models for version in model.versions}

    def __iter__(self) -> Iterator[PublishedModel]:
        return iter(self._by_id.values())

    def named(self, owner: str, name: str) -> PublishedModel:
        """Raises NotFound."""
        model = self._by_id.get(f"{owner}/{name}".lower())
        if model is None:
            raise NotFound(
                "model_not_found",
                f"There is no such model here: known are {', '.join(self._by_id)}.",
                extra={"allowed": list(self._by_id)},
            )
        return model

    def of_version(self, text: str) -> tuple[PublishedModel, str]:
        """The model of a version's hash, or of `owner/name` with or without `:hash`. Raises BadInput."""
        name, _, version = text.rpartition(":") if ":" in text else (text, "", "")
        if "/" in name and (model := self._by_id.get(name.lower())) and version in ("", *model.versions):
            return model, version or model.versions[0]
        if text in self._by_version:
            return self._by_version[text], text
        raise BadInput(
            "version_unknown",
            "That version is not known here: run the model by its name (owner/name), or pin one that "
            "GET /v1/models/{owner}/{name}/versions lists.",
            extra={"field": "version", "allowed": list(self._by_id)},
        )
