"""The request that a job was asked for by, as far as the job has to know it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

FRONT_STAGES = ("upload", "decode_upload")


@dataclass(frozen=True, slots=True)
class Origin:
    """`stages` are the request's own, in milliseconds by their names in Server-Timing; some come while it goes on."""

    traceparent: str | None = None
    stages: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def front_ms(self) -> dict[str, float]:
        """The stages before a worker has the job, as far as they are over."""
        return {name: self.stages[name] for name in FRONT_STAGES if name in self.stages}
