"""What the `openai` client reads: an images response, and the events of a stream. Extras of ours ride along."""

from base64 import b64encode

from msgspec import UNSET, Struct, UnsetType

from models.wire.events import FaceReport, JobWarning, Portrait, Timings
from service.api.openai.fields import ImagesRequest, Quality
from service.jobs.job import Job, JobResult


class TokenDetails(Struct, frozen=True, kw_only=True):
    image_tokens: int = 0
    text_tokens: int = 0


class Usage(Struct, frozen=True, kw_only=True):
    """All zero: nothing is counted in tokens here. The client's types require it."""

    input_tokens: int = 0
    input_tokens_details: TokenDetails = TokenDetails()
    output_tokens: int = 0
    output_tokens_details: TokenDetails = TokenDetails()
    total_tokens: int = 0


class ImageObject(Struct, frozen=True, kw_only=True):
    """One portrait, as base64 or as a data: URL; our `seed` makes it again, our `proof` makes its final."""

    b64_json: bytes | UnsetType = UNSET
    url: str | UnsetType = UNSET
    seed: int
    proof: str | UnsetType = UNSET


class ImagesResponse(Struct, frozen=True, kw_only=True):
    """OpenAI's object; from `id` on the fields are ours."""

    created: int
    data: list[ImageObject]
    background: str = "opaque"
    output_format: str
    quality: Quality
    size: str
    usage: Usage = Usage()
    id: str
    model: str
    adapter: str
    faces: list[FaceReport]
    warnings: list[JobWarning]
    timings_ms: Timings


class PartialImageEvent(Struct, frozen=True, kw_only=True):
    """A small JPEG of a picture in progress. `image_index` is ours: with n > 1, which picture."""

    type: str
    b64_json: bytes
    partial_image_index: int
    background: str = "opaque"
    created_at: int
    output_format: str = "jpeg"
    quality: Quality
    size: str
    image_index: int


class CompletedEvent(Struct, frozen=True, kw_only=True):
    """One finished portrait; a stream of n has n of them."""

    type: str
    b64_json: bytes
    background: str = "opaque"
    created_at: int
    output_format: str
    quality: Quality
    size: str
    usage: Usage = Usage()
    id: str
    image_index: int
    seed: int
    proof: str | UnsetType = UNSET
    warnings: list[JobWarning] | UnsetType = UNSET


def images_response(job: Job, asked: ImagesRequest, finished: JobResult) -> ImagesResponse:
    started = finished.started
    as_url = asked.theirs.wants_url
    return ImagesResponse(
        created=int(job.created),
        data=[_image(job, portrait, as_url=as_url) for portrait in finished.portraits],
        output_format=asked.theirs.output_format,
        quality=asked.quality,
        size=started.sampling.size,
        id=job.id,
        model=job.summary.model,
        adapter=started.adapter,
        faces=started.faces,
        warnings=started.warnings,
        timings_ms=finished.timings,
    )


def proof_of(job: Job, portrait: Portrait) -> str | UnsetType:
    """The sealed token that makes this picture's final."""
    return job.tokens.proofs.get(portrait.index, UNSET)


def warnings_of(job: Job) -> list[JobWarning] | UnsetType:
    """Left out where there are none, as OpenAI's events have no such field."""
    return (job.started and job.started.warnings) or UNSET


def _image(job: Job, portrait: Portrait, *, as_url: bool) -> ImageObject:
    seed, proof = portrait.seed, proof_of(job, portrait)
    if as_url:
        url = f"data:image/{portrait.format};base64,{b64encode(portrait.data).decode()}"
        return ImageObject(url=url, seed=seed, proof=proof)
    return ImageObject(b64_json=portrait.data, seed=seed, proof=proof)
