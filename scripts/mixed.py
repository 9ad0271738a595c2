"""Jobs of 2, 4 and 8 steps that arrive by themselves, run by one engine under one policy or another."""

import time
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from loadtest.arrivals import STEPS, STEPS_WEIGHTS, DueRequest, plan_arrivals
from models.engine.rows import Row
from models.engine.scheduler import Scheduler
from scripts.policies import RequestBatches
from scripts.studio import MAX_ROWS, Studio, StudioOrder

STEP_BATCHES, REQUEST_BATCHES, ONE_AT_A_TIME = "step batches", "request batches", "one at a time"
ALONE_ROUNDS = 5


def policies() -> dict[str, Scheduler | RequestBatches[Row]]:
    return {
        STEP_BATCHES: Scheduler(MAX_ROWS),
        REQUEST_BATCHES: RequestBatches(MAX_ROWS),
        ONE_AT_A_TIME: RequestBatches(1),
    }


class Mixed:
    """One person's rows, prepared before the clock starts: only the engine is measured."""

    def __init__(self, studio: Studio, order: StudioOrder) -> None:
        self._studio = studio
        self._rows = {steps: studio.prepare(replace(order, steps=steps)) for steps in STEPS}
        self.alone = {steps: self._alone(steps) for steps in STEPS}

    @property
    def capacity(self) -> float:
        """Jobs a second, one after another."""
        mean = sum(w * self.alone[s] for s, w in zip(STEPS, STEPS_WEIGHTS, strict=True)) / sum(STEPS_WEIGHTS)
        return 1 / mean

    def trace(self, load: float, jobs: int, seed: int) -> list[DueRequest]:
        rate = load * self.capacity
        return plan_arrivals("poisson", rate, jobs / rate, seed)

    def slowdowns(self, trace: Sequence[DueRequest], policy: str) -> list[float]:
        """Each job's time from its due moment, over what it takes alone, in order of arrival."""
        engine = self._studio.engine(self._rows[STEPS[0]].key.network, policy=policies()[policy])
        ended: dict[int, float] = {}
        coming, began = 0, time.monotonic()
        while len(ended) < len(trace):
            now = time.monotonic() - began
            while coming < len(trace) and trace[coming].due_seconds <= now:
                engine.add(self._row(coming, trace[coming].steps))
                coming += 1
            if not engine.has_work:
                time.sleep(max(0.0, trace[coming].due_seconds - now))
                continue
            for finished in engine.tick().finished:
                ended[finished.row.index] = time.monotonic() - began
        return [(ended[i] - arrival.due_seconds) / self.alone[arrival.steps] for i, arrival in enumerate(trace)]

    def _row(self, index: int, steps: int) -> Row:
        return replace(self._rows[steps], index=index, seed=index)

    def _alone(self, steps: int) -> float:
        seconds = []
        for _ in range(ALONE_ROUNDS):
            began = time.perf_counter()
            self._studio.develop([self._row(0, steps)])
            seconds.append(time.perf_counter() - began)
        return median(seconds)
