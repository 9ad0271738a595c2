"""What one job is to draw."""

from msgspec import Struct

from models.wire.groups import Delivery, Disagreeing, Placing, Sampling, SeveralFaces, SizeText
from models.wire.picture import Picture

MAX_SELFIES = 8  # in one job


class Photos(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was sent, decoded: selfies of one person, and the photo whose face says where the new one goes."""

    selfies: tuple[Picture, ...] = ()
    pose: Picture | None = None

    @property
    def num_bytes(self) -> int:
        return sum(photo.num_bytes for photo in (*self.selfies, *([] if self.pose is None else [self.pose])))


class Words(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the text encoders read.

    `prompt` reads naturally and contains the class word `subject` ("portrait photo of a woman wearing ..."); where the
    adapter's trigger goes is the adapter's business.
    """

    prompt: str
    negative_prompt: str | None = None
    subject: str = "person"

    def __repr__(self) -> str:
        return f"Words({len(self.prompt)} characters)"


class Final(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The full-quality version of a picture. Without a size: the bundle's largest final size of the same shape."""

    size: SizeText | None = None


class Order(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="order"):
    """One accepted job: 1-8 selfies of one person, or an `identity` made of some before; `len(seeds)` portraits out.

    `deadline_seconds` is the time left at the moment of sending: wall clocks of two processes are never compared.

    Without `seeds` nothing is drawn: the photos are judged and the identity is encoded, to be used later (an
    enrolment). `wants_identity` asks for it in Started. `final` draws what the same order without it draws, and then
    refines and enlarges that.
    """

    job_id: str
    photos: Photos = Photos()
    several_faces: SeveralFaces = "largest"
    disagreeing: Disagreeing = "warn"
    identity: bytes | None = None  # as a Started had it; instead of selfies
    words: Words
    seeds: list[int]
    adapter: str | None = None  # None: the bundle's own
    sampling: Sampling = Sampling()
    placing: Placing = Placing()
    delivery: Delivery = Delivery()
    final: Final | None = None
    wants_identity: bool = False
    deadline_seconds: float
    traceparent: str | None = None  # W3C Trace Context: where this job stands in its caller's trace, for log lines

    def __repr__(self) -> str:
        return f"Order({self.job_id}, {len(self.photos.selfies)} selfies, {len(self.seeds)} images)"
