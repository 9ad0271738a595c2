"""What the `replicate` client reads: predictions, models, versions, files, pages."""

from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

T = TypeVar("T")
Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]  # another is an error in the client


class PredictionUrls(Struct, frozen=True, kw_only=True):
    get: str
    cancel: str
    stream: str
    web: str


class PredictionMetrics(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Seconds. From the start, and from the request."""

    predict_time: float | None = None
    total_time: float | None = None


class PredictionObject(Struct, frozen=True, kw_only=True):
    """A prediction. `input` has what is not personal; `output` the finished pictures, in their order, as data: URLs.

    `logs` says what of the input was fitted, and how far it is. `code`, `seeds` and `proofs` are ours: a proof
    makes the final of the picture in its place.
    """

    id: str
    model: str
    version: str
    status: Status
    input: dict[str, Any]
    output: list[str] | None
    logs: str
    error: str | None
    metrics: PredictionMetrics
    created_at: str
    started_at: str | None
    completed_at: str | None
    deadline: str
    data_removed: bool = False
    source: str = "api"
    urls: PredictionUrls
    code: str | None
    seeds: list[int]
    proofs: list[str | None]


class VersionObject(Struct, frozen=True, kw_only=True):
    id: str
    created_at: str
    cog_version: str
    openapi_schema: dict[str, Any]


class ModelObject(Struct, frozen=True, kw_only=True):
    """A model that predictions can name here."""

    url: str
    owner: str
    name: str
    description: str
    visibility: Literal["public"] = "public"
    github_url: str | None = None
    paper_url: str | None = None
    license_url: str | None = None
    run_count: int = 0
    cover_image_url: str | None = None
    default_example: None = None
    latest_version: VersionObject


class FileUrls(Struct, frozen=True, kw_only=True):
    get: str


class FileObject(Struct, frozen=True, kw_only=True):
    """An uploaded file; it is held in memory until `expires_at` and never handed out again. Its name is not
    kept."""

    id: str
    name: str
    content_type: str
    size: int
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    expires_at: str
    urls: FileUrls


class Page(Struct, Generic[T], frozen=True, kw_only=True):
    """`next` and `previous` are addresses."""

    previous: str | None = None
    next: str | None = None
    results: list[T]


class WebhookSecret(Struct, frozen=True, kw_only=True):
    """`whsec_` and the base64 of the key. No two callers have the same."""

    key: str

    def __repr__(self) -> str:
        return "WebhookSecret()"
