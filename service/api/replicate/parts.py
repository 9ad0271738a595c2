"""What the surfaces of predictions share: the predictions themselves, callers' files, and who is told of them."""

from dataclasses import dataclass
from typing import Self

from service.api.front import Front
from service.api.replicate.files import Files
from service.api.replicate.hooks import Hooks
from service.api.replicate.predictions import Predictions


@dataclass(frozen=True, slots=True)
class PredictionParts:
    """Of one application."""

    predictions: Predictions
    files: Files
    hooks: Hooks

    @classmethod
    def of(cls, front: Front) -> Self:
        return cls(Predictions(front.jobs), Files(), Hooks(front.webhooks))

    async def close(self) -> None:
        """Wait until the last news are on their way, and wipe the files."""
        await self.hooks.stop()
        self.files.clear()
