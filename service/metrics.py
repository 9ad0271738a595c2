"""Every metric of the service, declared once. No label ever holds what a caller sent.

A `Metrics` has a registry of its own, so two apps in one process never share a counter. The workers' figures and a
job's timings arrive by message and end on the same page.
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar, cast, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as open_metrics

from models.wire.events import FaceReport, JobWarning, Timings
from models.wire.groups import ImageFormat
from models.wire.reports import Figures

M = TypeVar("M", Counter, Gauge, Histogram)

PROMETHEUS = "text/plain; version=0.0.4"
OPEN_METRICS = "application/openmetrics-text"

# From the front's own milliseconds to twice a 30 s promise.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 25, 30, 45, 60)
STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
WORKER_STAGES = ("face", "identity", "text", "steps", "decode", "encode")
STAGES = ("upload", "decode_upload", *WORKER_STAGES, "worker")
WEBHOOK_OUTCOMES = ("delivered", "refused", "gave_up", "dropped")
TOKEN_KINDS = ("identity", "proof")


def package_version() -> str:
    try:
        return version("proofsheet")
    except PackageNotFoundError:
        return "unknown"


class Metrics:
    """The page's figures. Used from the event loop's thread only."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        ProcessCollector(registry=registry)  # process_resident_memory_bytes, ..., as every dashboard knows them
        ProcessCollector(namespace="proofsheet", registry=registry)  # the names of our first releases
        self.requests = Counter(
            "proofsheet_requests_total",
            "Requests by outcome: ok, caller_error, no_capacity, deadline, failed, disconnected.",
            ["route", "outcome"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "proofsheet_request_duration_seconds",
            "From the first header to the last byte given to the network.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.queue_wait_seconds = Histogram(
            "proofsheet_queue_wait_seconds",
            "A job's wait in its worker, for preparation and for a free row.",
            buckets=SECONDS,
            registry=registry,
        )
        self.stage_seconds = Histogram(
            "proofsheet_stage_duration_seconds",
            f"Time per stage: {', '.join(STAGES)}.",
            ["stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.step_seconds = Histogram(
            "proofsheet_step_duration_seconds",
            "One denoising step of the batch, by padded bucket and by real rows.",
            ["bucket", "rows"],
            buckets=STEP_SECONDS,
            registry=registry,
        )
        self.rows_running = Gauge(
            "proofsheet_rows_running", "Images in a worker's batch.", ["worker"], registry=registry
        )
        self.rows_waiting = Gauge(
            "proofsheet_rows_waiting", "Images that wait for a row.", ["worker"], registry=registry
        )
        self.queue_depth = Gauge("proofsheet_queue_depth", "Jobs accepted and not started yet.", registry=registry)
        self.jobs_running = Gauge("proofsheet_jobs_in_flight", "Jobs accepted and not ended yet.", registry=registry)
        self.uploads_running = Gauge("proofsheet_uploads_in_flight", "Bodies being received.", registry=registry)
        self.forecast_error_seconds = Histogram(
            "proofsheet_forecast_error_seconds",
            "How far a finished job was from its prediction at acceptance, by direction: early or late.",
            ["direction"],
            buckets=SECONDS,
            registry=registry,
        )
        self.cancel_seconds = Histogram(
            "proofsheet_cancel_seconds",
            "From a cancel, a client's leaving or a passed deadline until the worker has dropped the rows, by reason.",
            ["reason"],
            buckets=SECONDS,
            registry=registry,
        )
        self.held_bytes = Gauge(
            "proofsheet_held_bytes",
            "Memory for photos of jobs, as they came or as pixels that a worker has, and for results and proofs kept.",
            ["kind"],
            registry=registry,
        )
        self.rejections = Counter(
            "proofsheet_rejections_total", "Requests refused or failed, by problem code.", ["reason"], registry=registry
        )
        self.faces = Counter("proofsheet_faces_total", "Selfies judged, by verdict.", ["verdict"], registry=registry)
        self.warnings = Counter(
            "proofsheet_warnings_total", "Warnings in answers to jobs, by code.", ["code"], registry=registry
        )
        self.images = Counter("proofsheet_images_total", "Portraits delivered.", ["format"], registry=registry)
        self.finals = Counter("proofsheet_finals_total", "Finals delivered.", ["format"], registry=registry)
        self.tokens = Counter(
            "proofsheet_tokens_opened_total",
            f"Sealed tokens that callers sent back, by kind: {', '.join(TOKEN_KINDS)}.",
            ["kind"],
            registry=registry,
        )
        self.device_memory_bytes = Gauge(
            "proofsheet_device_memory_bytes",
            "Device memory that a worker holds.",
            ["worker", "kind"],
            registry=registry,
        )
        self.webhooks = Counter(
            "proofsheet_webhooks_total",
            f"Webhook events that ended, by outcome: {', '.join(WEBHOOK_OUTCOMES)}.",
            ["outcome"],
            registry=registry,
        )
        self.worker_restarts = Counter(
            "proofsheet_worker_restarts_total", "Worker processes started again.", ["worker"], registry=registry
        )
        self.decoder_restarts = Gauge(
            "proofsheet_decoder_restarts", "Decoder processes replaced since the start.", registry=registry
        )
        self.ready = Gauge("proofsheet_ready", "1 while a warm worker can take a job.", registry=registry)
        self.build_info = Gauge(
            "proofsheet_build_info", "Always 1; the version is the label.", ["version"], registry=registry
        )
        self.build_info.labels(package_version()).set(1)
        self._children: dict[Any, Any] = {}
        for stage in STAGES:
            self._child(self.stage_seconds, stage)
        for metric, values in (
            (self.images, get_args(ImageFormat)),
            (self.finals, get_args(ImageFormat)),
            (self.tokens, TOKEN_KINDS),
            (self.webhooks, WEBHOOK_OUTCOMES),
            (self.faces, ("ok",)),
            (self.warnings, ("identities_disagree",)),
        ):
            for value in values:
                self._child(metric, value)

    def start_at_zero(self, codes: Iterable[str], num_workers: int) -> None:
        """Put counters on the page before they count: Prometheus takes one that begins at 1 for no increase."""
        for code in codes:
            self._child(self.rejections, code)
        for number in range(num_workers):
            self._child(self.worker_restarts, str(number))

    def page(self) -> bytes:
        """The text in Prometheus' own format."""
        return generate_latest(self.registry)

    def open_page(self) -> bytes:
        """The text as OpenMetrics 1.0 has it."""
        return cast(bytes, open_metrics.generate_latest(self.registry))  # pyright: ignore[reportUnknownMemberType]

    def count_request(self, route: str, outcome: str, seconds: float) -> None:
        self._child(self.requests, route, outcome).inc()
        self._child(self.request_seconds, route).observe(seconds)

    def count_image(self, image_format: str, *, is_final: bool) -> None:
        self._child(self.images, image_format).inc()
        if is_final:
            self._child(self.finals, image_format).inc()

    def add_figures(self, worker: str, figures: Figures) -> None:
        """A worker's figures since its last ones."""
        for tick in figures.ticks:
            self._child(self.step_seconds, str(tick.bucket), str(tick.rows)).observe(tick.seconds)
        self._child(self.rows_running, worker).set(figures.rows_running)
        self._child(self.rows_waiting, worker).set(figures.rows_waiting)
        self._child(self.device_memory_bytes, worker, "used").set(figures.device_memory_bytes)
        self._child(self.device_memory_bytes, worker, "peak").set(figures.peak_device_memory_bytes)

    def add_timings(self, timings: Timings) -> None:
        """A finished job's time in its worker."""
        self.queue_wait_seconds.observe(timings.queue_ms / 1e3)
        for stage in WORKER_STAGES:
            self.add_stage(stage, getattr(timings, f"{stage}_ms"))
        self.add_stage("worker", timings.total_ms)

    def add_stage(self, stage: str, milliseconds: float) -> None:
        self._child(self.stage_seconds, stage).observe(milliseconds / 1e3)

    def add_forecast(self, predicted_seconds: float, actual_seconds: float) -> None:
        """How well the end of a finished job was predicted."""
        error = actual_seconds - predicted_seconds
        self._child(self.forecast_error_seconds, "late" if error > 0 else "early").observe(abs(error))

    def add_faces(self, faces: Iterable[FaceReport]) -> None:
        for face in faces:
            self._child(self.faces, face.verdict).inc()

    def add_warnings(self, warnings: Iterable[JobWarning]) -> None:
        for warning in warnings:
            self._child(self.warnings, warning.code).inc()

    def count_webhook(self, outcome: str) -> None:
        self.webhooks.labels(outcome).inc()

    def count_restart(self, worker: str) -> None:
        self.worker_restarts.labels(worker).inc()

    def _child(self, metric: M, *labels: str) -> M:
        """What each request asks for, looked up once: a look-up in the library costs about what an observation does."""
        child: Any = self._children.get((metric, labels))
        if child is None:
            child = self._children[metric, labels] = metric.labels(*labels)
        return child
