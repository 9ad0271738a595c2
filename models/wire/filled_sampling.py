"""Sampling with every default filled in."""

# pyright: reportGeneralTypeIssues=false

from models.wire.groups import Sampling, sides


class FilledSampling(Sampling, frozen=True, kw_only=True):
    """Nothing is left open but `gamma`, whose default is the process's; a LoRA that is named has its scale."""

    size: str
    steps: int
    sampler: str
    guidance: float
    strength: float

    @property
    def width(self) -> int:
        return sides(self.size)[0]

    @property
    def height(self) -> int:
        return sides(self.size)[1]

    @property
    def is_guided(self) -> bool:
        """At a guidance of 1 the negative branch cancels out; below it would push away from the prompt."""
        return self.guidance > 1
