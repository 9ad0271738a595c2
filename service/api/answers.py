"""What a finished job looks like on the wire: JSON with base64 images, or one plain image."""

from typing import Annotated

import msgspec
from litestar.response.base import ASGIResponse
from msgspec import Meta, Struct

from models.wire.events import FaceReport, JobWarning, Portrait, Timings
from service.api.record import RequestRecord
from service.jobs.job import Job, JobResult
from service.jobs.kept_proofs import KeptProofs

# Characters. All headers of an answer together stay under 3.5 KB: nginx's proxy_buffer_size is 4 KB unless it is told
# otherwise, and it answers 502 for more.
MAX_PROOF_HEADER = 1800


class ImageAnswer(Struct, frozen=True, kw_only=True):
    """One portrait. The seed and the same fields make the same image again."""

    index: int
    seed: int
    format: str
    width: int
    height: int
    b64: Annotated[bytes, Meta(description="The encoded image, base64.")]
    proof: Annotated[
        str | None, Meta(description="A sealed token for POST /v1/finals; finals themselves have none.")
    ] = None


class IdentityAnswer(Struct, frozen=True, kw_only=True):
    """Send `identity` back in place of selfies, with this `adapter`, until it expires. `faces`: a report per selfie."""

    identity: Annotated[str, Meta(description="The sealed token. It works for your key alone; we keep no copy.")]
    model: str
    adapter: str
    expires_at: Annotated[str, Meta(description="UTC, RFC 3339.")]
    faces: list[FaceReport]
    warnings: list[JobWarning]


class TimingsAnswer(Struct, frozen=True, kw_only=True):
    """Milliseconds. From `face` to `worker_total` as the worker measured them; stages of jobs that share a batch
    overlap. `upload` is the body's arrival, `decode_upload` the selfies' decoding, `total` the whole request."""

    upload: float
    decode_upload: float
    face: float
    identity: float
    text: float
    queue: float
    steps: float
    decode: float
    encode: float
    worker_total: float
    total: float


class PortraitsAnswer(Struct, frozen=True, kw_only=True):
    """A finished job. `style` is null for a prompt of the caller's own; `faces` has one report per selfie."""

    id: str
    model: str
    adapter: str
    style: str | None
    images: list[ImageAnswer]
    faces: list[FaceReport]
    warnings: list[JobWarning]
    timings_ms: TimingsAnswer


def note_timings(record: RequestRecord, timings: Timings) -> None:
    """The worker's stages join the request's own in the Server-Timing header."""
    for name in ("face", "identity", "text", "queue", "steps", "decode", "encode"):
        record.stages[name] = round(getattr(timings, f"{name}_ms"), 2)
    record.stages["worker"] = round(timings.total_ms, 2)


def timings_answer(job: Job, timings: Timings, total_ms: float) -> TimingsAnswer:
    return TimingsAnswer(
        upload=job.origin.stages.get("upload", 0.0),
        decode_upload=job.origin.stages.get("decode_upload", 0.0),
        face=timings.face_ms,
        identity=timings.identity_ms,
        text=timings.text_ms,
        queue=timings.queue_ms,
        steps=timings.steps_ms,
        decode=timings.decode_ms,
        encode=timings.encode_ms,
        worker_total=timings.total_ms,
        total=round(total_ms, 2),
    )


def image_answer(job: Job, portrait: Portrait) -> ImageAnswer:
    return ImageAnswer(
        index=portrait.index,
        seed=portrait.seed,
        format=portrait.format,
        width=portrait.width,
        height=portrait.height,
        b64=portrait.data,
        proof=job.tokens.proofs.get(portrait.index),
    )


def json_response(job: Job, record: RequestRecord, finished: JobResult) -> ASGIResponse:
    note_timings(record, finished.timings)
    answer = PortraitsAnswer(
        id=job.id,
        model=job.summary.model,
        adapter=finished.started.adapter,
        style=job.summary.style,
        images=[image_answer(job, portrait) for portrait in finished.portraits],
        faces=finished.started.faces,
        warnings=finished.started.warnings,
        timings_ms=timings_answer(job, finished.timings, record.elapsed_ms),
    )
    return ASGIResponse(body=msgspec.json.encode(answer), media_type="application/json")


def image_response(job: Job, record: RequestRecord, finished: JobResult, kept_proofs: KeptProofs) -> ASGIResponse:
    """The one picture. Its proof goes into a header, or a reference to the proof where that is too long."""
    note_timings(record, finished.timings)
    portrait = finished.portraits[0]
    headers = {"X-Seed": str(portrait.seed), "X-Job-Id": job.id}
    proof = job.tokens.proofs.get(portrait.index)
    if proof is not None and len(proof) > MAX_PROOF_HEADER:
        proof = kept_proofs.keep(job.id, proof)
    if proof is not None:
        headers["X-Proof"] = proof
    if finished.started.warnings:
        headers["X-Warnings"] = ", ".join(warning.code for warning in finished.started.warnings)
    return ASGIResponse(body=portrait.data, media_type=f"image/{portrait.format}", headers=headers)
