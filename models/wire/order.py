"""What one job is to draw."""

from msgspec import Struct

from models.wire.groups import Framing, ImageFormat, Region, SeveralFaces
from models.wire.picture import Picture

MAX_SELFIES = 8  # in one job


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
