"""A job as a span: under the request that asked for it, though it may outlive that request."""

from service.jobs.job import Job
from service.telemetry import Tracer

STAGES = ("queue", "face", "identity", "text", "steps", "decode", "encode")


def add_job_span(tracer: Tracer, job: Job) -> None:
    """Tell of a job that has ended. Names, numbers and ids alone; the stages are what Server-Timing shows as well."""
    summary, stages = job.summary, job.origin.front_ms
    if job.timings is not None:
        stages |= {name: getattr(job.timings, f"{name}_ms") for name in STAGES}
    attributes: dict[str, str | int | float] = {
        "proofsheet.job_id": job.id,
        "proofsheet.caller": job.caller.id,
        "proofsheet.state": job.state,
        "proofsheet.model": summary.model,
        "proofsheet.adapter": summary.adapter,
        "proofsheet.images": summary.num_images,
        "proofsheet.steps": summary.steps,
    }
    attributes |= {f"proofsheet.stage.{name}_ms": milliseconds for name, milliseconds in stages.items()}
    if job.error is not None:
        attributes["error.type"] = job.error.code
    end = job.created + job.elapsed_seconds
    tracer.add("job", job.origin.traceparent, job.created, end, attributes, failed=job.state == "failed")
