"""What a worker tells of itself."""

from typing import Literal

from msgspec import Struct

from models.wire.bundle_info import BundleInfo


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
