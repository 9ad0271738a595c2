"""GET /livez, /readyz, /health and /metrics: for probes and people who operate this."""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from msgspec import Struct

from service.access.guard import ADMIN, OPEN
from service.api.accept import is_named
from service.api.front import Front
from service.api.record import record_of
from service.errors import NoCapacity
from service.metrics import OPEN_METRICS, PROMETHEUS, package_version
from service.workers.protocol import WorkerStatus

AnyRequest = Request[Any, Any, Any]


class StatusAnswer(Struct, frozen=True, kw_only=True):
    status: str


class HealthAnswer(Struct, frozen=True, kw_only=True):
    """The service in numbers. `jobs` are accepted and not ended, `waiting` of them not started."""

    status: str
    version: str
    jobs: int
    waiting: int
    max_jobs: int
    decoder_restarts: int
    workers: list[WorkerStatus]


@get("/livez", opt=OPEN, operation_id="livez", summary="Is the process alive", sync_to_thread=False)
def livez() -> StatusAnswer:
    """The event loop answers. Says nothing of the workers, so that a slow load is no reason for a restart."""
    return StatusAnswer(status="alive")


@get("/readyz", opt=OPEN, operation_id="readyz", summary="Can it take jobs", sync_to_thread=False)
def readyz(front: NamedDependency[Front]) -> StatusAnswer:
    """200 while a warm worker can take jobs; 503 before and while stopping. A full queue is still ready."""
    if not front.jobs.is_ready:
        states = [f"{worker.device}: {worker.state}" for worker in front.jobs.workers.status()]
        code = "stopping" if front.jobs.stopping else "not_ready"
        raise NoCapacity(code, "No warm worker takes jobs.", retry_after_seconds=5, extra={"workers": states})
    return StatusAnswer(status="ready")


@get("/health", opt=ADMIN, operation_id="health", summary="The state of every part", sync_to_thread=False)
def health(front: NamedDependency[Front]) -> HealthAnswer:
    """The state of every part, always with 200."""
    jobs = front.jobs
    return HealthAnswer(
        status="stopping" if jobs.stopping else "ready" if jobs.is_ready else "starting",
        version=package_version(),
        jobs=jobs.in_flight,
        waiting=jobs.waiting,
        max_jobs=front.settings.max_jobs,
        decoder_restarts=front.decoders.restarts,
        workers=jobs.workers.status(),
    )


@get("/metrics", opt=ADMIN, include_in_schema=False, sync_to_thread=False)
def metrics(request: AnyRequest, front: NamedDependency[Front]) -> Response[bytes]:
    """The page that Prometheus reads; as OpenMetrics for who asks for that by name."""
    record_of(request.scope).headers["Vary"] = "Accept"
    if is_named(OPEN_METRICS, request.headers.get("accept")):
        return Response(front.metrics.open_page(), media_type=f"{OPEN_METRICS}; version=1.0.0; charset=utf-8")
    return Response(front.metrics.page(), media_type=PROMETHEUS)  # to which Litestar adds the charset
