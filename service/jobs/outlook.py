"""What a job that came now would meet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a job that came now would meet. Seconds are from now to its end, None before anything was measured.

    `promised_seconds` is what a deadline is held against: later than expected, by the errors of late and by one more
    caller who may join the line.
    """

    position: int
    expected_seconds: float | None
    promised_seconds: float | None

    def in_words(self) -> dict[str, object]:
        """What a refusal says of it."""
        words: dict[str, object] = {"position": self.position}
        if self.expected_seconds is not None:
            words["eta_seconds"] = round(self.expected_seconds, 2)
        return words
