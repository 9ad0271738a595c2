"""What crosses the process boundary between the front and a worker: msgpack (msgspec), tagged by `type`.

The front imports this package, so nothing in it may import torch, numpy or anything that computes. Nothing here has a
`repr` that could print a face or a prompt: a Struct with personal data in fields of its own overrides it, and one that
only contains such Structs prints theirs.
"""

from msgspec import Struct

from models.wire.events import Done, Dropped, Failed, Portrait, Started, Stepped
from models.wire.order import Order
from models.wire.reports import Broken, Figures, Ready
from models.wire.setup import Setup


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel"):
    """Drop a job: its rows leave at the next tick. Answered with Dropped, for unknown and finished jobs too."""

    job_id: str


class Shutdown(Struct, frozen=True, kw_only=True, tag="shutdown"):
    """Finish nothing more, fail what is left as `worker_stopping`, exit 0."""


ToWorker = Setup | Order | Cancel | Shutdown
FromWorker = Ready | Started | Stepped | Portrait | Done | Failed | Dropped | Figures | Broken
