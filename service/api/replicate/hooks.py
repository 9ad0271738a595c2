"""News of a prediction to its caller's webhook, as Replicate sends them: start, output, logs, completed.

The body is the prediction. Output and logs go out at most twice a second, for whatever is left out is in the next one;
only the last one is sent again when it does not arrive.
"""

import asyncio
import contextlib

import msgspec

from models.wire.events import Done, Portrait, Started, Stepped
from service.api.replicate.predictions import Prediction, prediction_object
from service.api.replicate.requests import HookEvent
from service.jobs.log import Ended, JobNews
from service.jobs.webhooks import Webhooks

THROTTLE_SECONDS = 0.5
Hook = tuple[str, frozenset[HookEvent]]  # the target, and what it wants to know


class Hooks:
    """Follows each prediction that has a webhook, in a task of its own: one at most for each job."""

    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, prediction: Prediction, hook: Hook, base_url: str) -> None:
        """Tell all that happens from the beginning on. `base_url` ends with a slash."""
        task = asyncio.create_task(self._follow(prediction, hook, base_url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """When every job has ended: wait until the last news are on their way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _follow(self, prediction: Prediction, hook: Hook, base_url: str) -> None:
        target, wanted = hook
        throttle = Throttle()
        async with contextlib.aclosing(prediction.job.follow()) as news:
            async for _, event in news:
                name = hook_event(event)
                if name not in wanted or (name in ("output", "logs") and throttle.holds_back()):
                    continue
                body = msgspec.json.encode(prediction_object(prediction, base_url))
                caller_id, last = prediction.job.caller.id, name == "completed"
                self._webhooks.deliver(target, name, body, caller_id=caller_id, retry=last)


class Throttle:
    """Lets one through, and holds back the rest for a while. Counts on the loop's clock."""

    def __init__(self, seconds: float = THROTTLE_SECONDS) -> None:
        self._seconds = seconds
        self._clock = asyncio.get_running_loop().time
        self._next = self._clock()

    def holds_back(self) -> bool:
        now = self._clock()
        if now < self._next:
            return True
        self._next = now + self._seconds
        return False


def hook_event(event: JobNews) -> HookEvent | None:
    """What Replicate calls it; None for what it has no word for."""
    match event:
        case Started():
            return "start"
        case Portrait():
            return "output"
        case Stepped(index=0):
            return "logs"
        case Done() | Ended():
            return "completed"
        case _:
            return None
