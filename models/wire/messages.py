"""What crosses the process boundary between the front and a worker.

Frames are msgpack (msgspec), tagged by `type`. The front imports this module, so it must never import torch,
numpy or anything that computes. Nothing here has a `repr` that could print a face or a prompt: every Struct that
carries personal data overrides it with its sizes alone.
"""

import struct
from collections.abc import Callable
from typing import Literal

import msgspec
from msgspec import Struct

from models.wire.groups import Framing, ImageFormat, Region
from models.wire.tray import Tray

MAX_SELFIES = 8  # in one job
SeveralFaces = Literal["largest", "refuse"]


class Picture(Struct, frozen=True, kw_only=True):
    """Decoded pixels: 8-bit sRGB, row-major, `num_bytes` of them, orientation already applied.

    They are in `rgb`, or else on `tray`, which goes beside the frame: the frame says only that there is one.
    """

    width: int
    height: int
    rgb: bytes = b""
    tray: Tray | None = None

    @property
    def num_bytes(self) -> int:
        return 3 * self.width * self.height

    @property
    def pixels(self) -> bytes | memoryview:
        """Wherever they are. Raises ValueError when a tray has fewer."""
        return self.rgb if self.tray is None else self.tray.read(self.num_bytes)

    def __repr__(self) -> str:
        return f"Picture({self.width}x{self.height})"


# ---- front -> worker


class Setup(Struct, frozen=True, kw_only=True, tag="setup"):
    """The first frame a worker gets: everything it may know about its place. Workers read no environment."""

    bundle: str = "tiny"
    manifest: str | None = None  # an operator's own manifest.toml
    weights_dir: str | None = None  # where downloaded weight files lie; the embedded bundle needs none
    device: str = "auto"  # auto, cpu, cuda:0, ...
    max_rows: int = 8
    face_analyzer: str | None = None  # bundled, yunet, insightface:<pack>; None: the bundle's own
    faces_dir: str | None = None  # the folder that holds the face analyzer's ONNX files
    face_side: int | None = None  # pixels at which face detectors look first; None: as they were trained
    threads: int | None = None
    accept_noncommercial: bool = False
    graphs: bool = True  # record calls at warm-up and play them; CUDA alone
    compile: Literal["off", "blocks", "full"] = "off"
    fp8: bool = False
    compile_cache: str | None = None  # a folder of this user's own


class Final(Struct, frozen=True, kw_only=True):
    """The full-quality version of a picture. Without a size: the bundle's largest final size of the same shape."""

    width: int | None = None
    height: int | None = None


class Generate(Struct, frozen=True, kw_only=True, tag="generate"):
    """One accepted job: 1-8 selfies of one person, or an `identity` made of some before; `len(seeds)` portraits out.

    `prompt` reads naturally and contains the class word `subject` ("portrait photo of a woman wearing ..."); where
    the adapter's trigger goes is the adapter's business. None means the bundle's default. `strength` is 0 (no
    identity) to 1 (identity from the first step). `deadline_seconds` is the time left at the moment of sending: wall
    clocks of two processes are never compared. `lora` is one of the bundle's style LoRAs; `lora_scale` None is its own.

    The last five steer adapters that are told where the face goes (`takes_pose`): like the face in the photo `pose`,
    or else by `framing` (None: the bundle's; "selfie" copies the first selfie). `control_strength` is the keypoint
    network's own strength (None: as `strength`), `control_window` the share of the steps in which it acts, and with
    `region` "face" the identity acts inside the face's box alone.

    Without `seeds` nothing is drawn: the photos are judged and the identity is encoded, to be used later (an
    enrolment). `wants_identity` asks for it in Started. `final` draws what the same request without it draws, and then
    refines and enlarges that. `mark` is written across every picture that leaves, `longest_side` (pixels) shrinks it.
    """

    job_id: str
    selfies: list[Picture]
    identity: bytes | None = None  # as a Started had it; instead of selfies
    prompt: str
    negative_prompt: str | None = None
    subject: str = "person"
    seeds: list[int]
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    adapter: str | None = None
    strength: float | None = None
    lora: str | None = None
    lora_scale: float | None = None
    format: ImageFormat = "jpeg"
    quality: int = 90
    deadline_seconds: float
    previews: bool = False
    several_faces: SeveralFaces = "largest"
    traceparent: str | None = None  # W3C Trace Context: where this job stands in its caller's trace, for log lines
    pose: Picture | None = None
    framing: Framing | None = None
    control_strength: float | None = None
    control_window: tuple[float, float] = (0.0, 1.0)
    region: Region = "picture"
    wants_identity: bool = False
    final: Final | None = None
    mark: str | None = None
    longest_side: int | None = None

    def __repr__(self) -> str:
        return f"Generate({self.job_id}, {len(self.selfies)} selfies, {len(self.seeds)} images)"


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel"):
    """Drop a job: its rows leave at the next tick. Answered with Dropped, for unknown and finished jobs too."""

    job_id: str


class Shutdown(Struct, frozen=True, kw_only=True, tag="shutdown"):
    """Finish nothing more, fail what is left as `worker_stopping`, exit 0."""


ToWorker = Setup | Generate | Cancel | Shutdown


# ---- worker -> front


class FileInfo(Struct, frozen=True, kw_only=True):
    """One loaded weight file and the terms it comes under."""

    id: str
    bytes: int
    sha256: str
    licence: str
    commercial: Literal["yes", "no", "conditional"]
    source: str
    note: str = ""


class AdapterInfo(Struct, frozen=True, kw_only=True):
    """One warm adapter. Bytes are those of parameters on the device: its own, and those that it uses with others."""

    name: str
    takes_pose: bool  # whether it can be told where the face goes
    own_bytes: int
    shared_bytes: int


class LoraInfo(Struct, frozen=True, kw_only=True):
    """A style LoRA that a request may ask for, its scale unless the request names one, and its terms."""

    name: str
    scale: float
    licence: str
    commercial: Literal["yes", "no", "conditional"]


class FinalInfo(Struct, frozen=True, kw_only=True):
    """How a bundle makes finals: their sizes (width, height), which nothing else may have, and the steps that they take
    after the preview's own; whether at their size or at the preview's, to be enlarged when finished."""

    sizes: list[tuple[int, int]]
    steps: int
    refined_in_size: bool


class BundleInfo(Struct, frozen=True, kw_only=True):
    """What a worker has warm, and the limits that a request to it must keep."""

    name: str
    title: str
    adapters: list[AdapterInfo]
    loras: list[LoraInfo] = []
    samplers: list[str]
    sizes: list[tuple[int, int]]  # (width, height)
    max_steps: int
    default_adapter: str
    default_sampler: str
    default_size: tuple[int, int]
    default_steps: int
    default_guidance: float
    default_strength: float
    default_framing: Framing = "front"  # of adapters that take a pose
    accepted_noncommercial: bool = False  # the operator said that the use is not commercial
    files: list[FileInfo]
    revision: str = ""  # changes with any weight file: what an identity is bound to
    finals: FinalInfo | None = None  # None: this bundle makes none


class SpeedInfo(Struct, frozen=True, kw_only=True):
    """How a worker is made fast: the attention kernel and the JPEG encoder that it chose, and its settings."""

    attention: str
    jpeg: str
    compile: Literal["off", "blocks", "full"]
    fp8: bool
    recordings: int  # of UNet and ControlNet calls; 0: they run as they are


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """Weights loaded and one full job run: the first caller pays nothing extra."""

    device: str
    bundle: BundleInfo
    max_rows: int
    face_analyzer: str
    load_seconds: float
    warm_up_seconds: float
    speed: SpeedInfo | None = None
    fetchable: dict[str, str] = {}  # the manifest's adapters that can be fetched, each with a bundle that has it


class FaceReport(Struct, frozen=True, kw_only=True):
    """What the photo judge saw in one selfie. Sizes are pixels of the decoded picture, angles degrees.

    `verdict` is "ok" or the code of the problem (`no_face`, `face_too_small`, ...). `box` is x0, y0, x1, y1.
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


class Started(Struct, frozen=True, kw_only=True, tag="started"):
    """The photos passed, the identity is encoded and the job's first row has joined the batch.

    Sizes and steps are those of the pictures to come: a final's are larger and more than its preview's were.
    """

    job_id: str
    faces: list[FaceReport]
    adapter: str
    sampler: str
    steps: int
    width: int
    height: int
    guidance: float = 1.0
    strength: float = 1.0
    lora_scale: float | None = None
    identity: bytes | None = None  # opaque, if the job `wants_identity`; also holds how a pose photo's face stood

    def __repr__(self) -> str:
        return f"Started({self.job_id}, {self.width}x{self.height})"


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
    """One finished image, encoded. `index` is its place in the request's `seeds`."""

    job_id: str
    index: int
    seed: int
    format: ImageFormat
    width: int
    height: int
    data: bytes

    def __repr__(self) -> str:
        return f"Portrait({self.job_id}, image {self.index}, {len(self.data)} bytes)"


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


class Tick(Struct, frozen=True, kw_only=True, array_like=True):
    """One engine iteration: `rows` real rows padded to `bucket`, and how long it took."""

    bucket: int
    rows: int
    seconds: float


class Figures(Struct, frozen=True, kw_only=True, tag="figures"):
    """The worker's own numbers since the last Figures, sent about once a second; also its heartbeat."""

    ticks: list[Tick]
    rows_running: int
    rows_waiting: int
    jobs_held: int
    device_memory_bytes: int
    peak_device_memory_bytes: int


class Broken(Struct, frozen=True, kw_only=True, tag="broken"):
    """The worker could not start; it exits after this. `message` is for the operator (a file, a hash, a licence)."""

    message: str


FromWorker = Ready | Started | Stepped | Portrait | Done | Failed | Dropped | Figures | Broken
JobEvent = Started | Stepped | Portrait | Done | Failed


# ---- frames: a 4-byte big-endian length, then the msgpack body

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 256 * 1024 * 1024

_from_worker = msgspec.msgpack.Decoder(FromWorker)


def encode_frame(message: ToWorker | FromWorker, give_tray: Callable[[Tray], None] | None = None) -> bytearray:
    """`give_tray` gets the trays of `message`, in the order in which its reader will ask for them.

    Raises NotImplementedError for a tray without it, ValueError for a message that is too long.
    """

    def mention(value: object) -> bool:
        if give_tray is None or not isinstance(value, Tray):
            raise NotImplementedError(f"a {type(value).__name__} can't be written into a frame")
        give_tray(value)
        return True

    frame = bytearray(HEADER.size)
    msgspec.msgpack.Encoder(enc_hook=mention).encode_into(message, frame, HEADER.size)
    length = len(frame) - HEADER.size
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    HEADER.pack_into(frame, 0, length)
    return frame


def to_worker_decoder(next_tray: Callable[[], Tray]) -> msgspec.msgpack.Decoder[ToWorker]:
    """`next_tray` is asked for every tray that a frame mentions, in order; what it raises comes out of `decode`."""
    return msgspec.msgpack.Decoder(ToWorker, dec_hook=lambda _kind, _mention: next_tray())


def decode_from_worker(body: bytes | bytearray) -> FromWorker:
    return _from_worker.decode(body)
