"""One job as the front holds it while a worker has it: what to send again, and what was delivered already."""

import asyncio
import dataclasses
from typing import Literal

import msgspec

from models.wire.events import Done, Failed, JobEvent, Portrait, Started, Stepped
from models.wire.order import Order
from service.workers.supervisor import Supervisor

MAX_WAITING_STEPS = 64  # progress a slow reader has not taken; more is dropped, portraits never are
MAX_SENDS = 2  # a job that two workers died of is not given to a third


@dataclasses.dataclass(slots=True, eq=False)
class HeldJob:
    """Owned by the pool from submit to its one end. `deadline` is the loop's clock, in seconds."""

    order: Order
    deadline: float
    worker: Supervisor | None = None
    sends: int = 0
    is_suspect: bool = False  # a worker died while it had this job
    started: bool = False
    ended: bool = False  # for its caller; a worker may still have it
    gone: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)  # from the workers: its rows are free
    delivered: set[int] = dataclasses.field(default_factory=set[int])
    events: asyncio.Queue[JobEvent] = dataclasses.field(default_factory=asyncio.Queue[JobEvent])

    @property
    def num_images(self) -> int:
        return len(self.order.seeds)

    @property
    def may_be_sent_again(self) -> bool:
        return not self.ended and self.sends < MAX_SENDS

    def to_send(self, now: float) -> Order:
        """The message for a worker, with the time that is left at this moment."""
        self.sends += 1
        return msgspec.structs.replace(self.order, deadline_seconds=max(self.deadline - now, 0.001))

    def take(self, event: JobEvent) -> None:
        """Pass an event on unless the caller has it already from a worker that died since."""
        if self.ended:
            return
        match event:
            case Started():
                if self.started:
                    return
                self.started = True
            case Stepped():
                if event.index in self.delivered or self.events.qsize() >= MAX_WAITING_STEPS:
                    return
            case Portrait():
                if event.index in self.delivered:
                    return
                self.delivered.add(event.index)
            case Done() | Failed():
                self.ended = True
        self.events.put_nowait(event)

    def fail(self, code: str, message: str, fault: Literal["capacity", "worker"] = "capacity") -> None:
        """End the job for a reason of ours."""
        self.take(Failed(job_id=self.order.job_id, code=code, message=message, fault=fault))
