"""A job inside a worker: what was asked, how far it is, and that it ends once."""

from dataclasses import dataclass, field
from typing import Literal

from models.wire.events import Failed, Started, Timings
from models.wire.order import Order

Fault = Literal["caller", "capacity", "worker"]


class JobRefused(Exception):
    """This job can't be done. `failed` goes to the caller; the exception's own text holds nothing personal."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.code)
        self.failed = failed


@dataclass(slots=True, kw_only=True)
class Stopwatch:
    """Seconds per stage, and the moments between which the rest is counted; all on the worker's monotonic clock."""

    received: float
    face: float = 0.0
    identity: float = 0.0
    text: float = 0.0
    decode: float = 0.0
    encode: float = 0.0
    preparation_began: float = 0.0
    prepared: float = 0.0
    first_step_began: float | None = None
    last_step_ended: float = 0.0

    def timings(self, now: float) -> Timings:
        began = self.first_step_began if self.first_step_began is not None else self.prepared
        queue = (self.preparation_began - self.received) + (began - self.prepared)
        seconds = {
            "face_ms": self.face,
            "identity_ms": self.identity,
            "text_ms": self.text,
            "queue_ms": max(queue, 0.0),
            "steps_ms": max(self.last_step_ended - began, 0.0),
            "decode_ms": self.decode,
            "encode_ms": self.encode,
            "total_ms": now - self.received,
        }
        return Timings(**{name: round(value * 1000, 3) for name, value in seconds.items()})


@dataclass(slots=True, eq=False)
class WorkerJob:
    """One order in the worker's hands. `open_images` are the indexes that haven't left yet."""

    order: Order
    deadline: float  # on the worker's clock
    watch: Stopwatch
    open_images: set[int] = field(default_factory=set)
    started: Started | None = None  # told when the first row steps
    size: tuple[int, int] = (0, 0)  # width and height of the pictures that leave; known when it is prepared
    has_ended: bool = False

    @classmethod
    def accept(cls, order: Order, now: float) -> "WorkerJob":
        return cls(
            order=order,
            deadline=now + order.deadline_seconds,
            watch=Stopwatch(received=now),
            open_images=set(range(len(order.seeds))),
        )

    def __repr__(self) -> str:
        return f"WorkerJob({self.order.job_id}, {len(self.open_images)} images open)"
