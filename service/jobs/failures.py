"""What a worker's Failed means to a caller: one class of the error tree per kind of failure."""

import msgspec

from models.wire.events import Failed
from service.errors import BadRequest, BadSelfie, DeadlineExceeded, JobFailed, NoCapacity, ServiceError

# Failures that are about a field and not about a photo. What is missing here and the caller's fault is a BadSelfie.
FIELD_CODES = frozenset(
    {
        "finals_unavailable",
        "identity_malformed",
        "identity_wrong_adapter",
        "identity_wrong_bundle",
        "identity_wrong_version",
        "prompt_command",
        "prompt_syntax",
        "prompt_too_long",
        "prompt_weight_out_of_bounds",
        "prompt_reserved_word",
        "prompt_trigger_count",
        "unknown_adapter",
        "unknown_lora",
        "unknown_sampler",
        "unknown_size",
        "too_many_steps",
    }
)
DEADLINE_CODES = frozenset({"deadline_exceeded"})


def to_error(failed: Failed, *, retry_after_seconds: int) -> ServiceError:
    """The error to raise for a failed job. Only a lack of capacity asks to try again."""
    extra: dict[str, object] = {}
    if failed.selfie is not None:
        extra["selfie"] = failed.selfie
    if failed.likeness:
        extra["likeness"] = failed.likeness
    if failed.faces:
        extra["faces"] = msgspec.to_builtins(failed.faces)
    kind = _class_of(failed)
    return kind(
        failed.code,
        failed.message,
        value=failed.value,
        limit=failed.limit,
        retry_after_seconds=retry_after_seconds if kind is NoCapacity else None,
        extra=extra,
    )


def _class_of(failed: Failed) -> type[ServiceError]:
    if failed.code in DEADLINE_CODES:
        return DeadlineExceeded
    if failed.fault == "caller":
        return BadRequest if failed.code in FIELD_CODES else BadSelfie
    return NoCapacity if failed.fault == "capacity" else JobFailed
