"""What becomes of one job, as its worker tells it."""

from typing import Literal

from msgspec import Struct

from models.wire.filled_sampling import FilledSampling
from models.wire.groups import ImageFormat, Placing


class FaceReport(Struct, frozen=True, kw_only=True):
    """What the photo judge saw in one selfie. Sizes are pixels of the decoded picture, angles degrees.

    `verdict` is "ok" or the code of the problem (`no_face`, `face_too_small`, ...). `box` is x0, y0, x1, y1, in the
    picture as it stands upright: a note says if it had to be turned for that.
    """

    verdict: str
    faces_found: int
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    sharpness: float | None = None
    brightness: float | None = None
    yaw_degrees: float | None = None
    notes: list[str] = []

    def __repr__(self) -> str:
        return f"FaceReport({self.verdict}, {self.faces_found} faces)"


class Pair(Struct, frozen=True, kw_only=True):
    """Two selfies, by their indexes, and the cosine of their faces."""

    selfies: tuple[int, int]
    likeness: float


class JobWarning(Struct, frozen=True, kw_only=True):
    """What a caller should know of a job that goes on nevertheless; `code` is that of the refusal it might have been.

    `pairs` are the selfies that it is about; `value` was measured, and `limit` is what it had to keep.
    """

    code: str
    message: str
    value: float | None = None
    limit: float | None = None
    pairs: list[Pair] = []


class Timings(Struct, frozen=True, kw_only=True):
    """Where a job's time in the worker went, in milliseconds; stages that overlap other jobs' work count in full.

    face: detect, judge, embed. identity: ID tokens. text: prompt encoding. queue: waiting for preparation and for
    a free row. steps: first row's entry to last row's last step. decode: VAE. encode: JPEG, WebP or PNG. total:
    message in to last message out.
    """

    face_ms: float
    identity_ms: float
    text_ms: float
    queue_ms: float
    steps_ms: float
    decode_ms: float
    encode_ms: float
    total_ms: float


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """The photos passed, the identity is encoded and the job's first row has joined the batch.

    `sampling` and `placing` are the order's as filled in. Size and steps are those of the pictures to come: a final's
    are larger and more than its preview's were.
    """

    job_id: str
    faces: list[FaceReport]
    adapter: str
    sampling: FilledSampling
    placing: Placing
    warnings: list[JobWarning] = []
    identity: bytes | None = None  # opaque, if the job `wants_identity`; also holds how a pose photo's face stood

    def __repr__(self) -> str:
        return f"Started({self.job_id}, {self.sampling.size})"


class Stepped(Struct, frozen=True, kw_only=True, tag="stepped"):
    """Row `index` of the job has made `step` of `steps` denoising steps; `preview` is a small JPEG if asked for."""

    job_id: str
    index: int
    step: int
    steps: int
    preview: bytes | None = None

    def __repr__(self) -> str:
        return f"Stepped({self.job_id}, image {self.index}, {self.step}/{self.steps})"


class Portrait(Struct, frozen=True, kw_only=True, tag="portrait"):
    """One finished image, encoded. `index` is its place in the order's `seeds`."""

    job_id: str
    index: int
    seed: int
    format: ImageFormat
    width: int
    height: int
    data: bytes

    def __repr__(self) -> str:
        return f"Portrait({self.job_id}, image {self.index}, {len(self.data)} bytes)"


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """The job's one good end: every portrait was sent before it."""

    job_id: str
    timings: Timings


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The job's one bad end. `code` is stable, `message` is a sentence for the person; `value`, `limit` when measured.

    `fault` says whose it is: "caller" (a 4xx), "capacity" (503, try again), "worker" (500). A retryable failure may
    be sent to another worker within the deadline.
    """

    job_id: str
    code: str
    message: str
    fault: Literal["caller", "capacity", "worker"]
    value: float | str | None = None
    limit: float | str | None = None
    selfie: int | None = None  # index of the selfie it is about
    likeness: list[list[float]] = []  # cosine of each selfie's face with each other's, if they are not of one person
    faces: list[FaceReport] = []


class Dropped(Struct, frozen=True, kw_only=True, tag="dropped"):
    """The answer to every Cancel: from here on the job makes no step, whether or not the worker still had it."""

    job_id: str


JobEvent = Started | Stepped | Portrait | Done | Failed
