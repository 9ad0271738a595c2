"""From a request to rows: check, find the face, judge the photo, encode the identity and the prompt.

Runs on the preparation thread, while the engine's thread ticks. The cheapest refusals come first: nothing computes
for a request that can't be met.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.adapters.adapter import Wish
from models.engine.plan import Plan, make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.faces.face import Face, FaceAnalyzer
from models.faces.judge import Judgement, Limits, judge
from models.job import Job, JobRefused
from models.messages import FaceReport, Failed, Generate, Picture, Started
from models.weights.bundle import Bundle, Stack


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ready to run: the rows, and what the caller is told when the first of them starts."""

    job: Job
    rows: list[Row]
    started: Started


@dataclass(frozen=True, slots=True)
class _Order:
    """A request with the bundle's defaults filled in, and checked against its limits."""

    stack: Stack
    wish: Wish
    sampler: str
    plan: Plan
    guidance: float


class Preparer:
    """Holds warm models and no request. One thread at a time calls `prepare`."""

    def __init__(
        self,
        bundle: Bundle,
        analyzer: FaceAnalyzer,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = bundle
        self._analyzer = analyzer
        self._limits = limits or Limits()
        self._clock = clock

    def prepare(self, job: Job) -> Prepared:
        """Raises JobRefused with what the caller is to be told."""
        job.watch.preparation_began = self._clock()
        request = job.request
        order = self._order(request)
        self._check_prompt(order, request)
        faces, reports = self._find_faces(job)
        embedded = self._clock()
        identity = order.stack.adapter.identity(request.selfies, faces)
        encoded = self._clock()
        conditioning = order.stack.adapter.condition(identity, order.wish)
        job.watch.identity = encoded - embedded
        job.watch.prepared = self._clock()
        job.watch.text = job.watch.prepared - encoded
        width, height = order.wish.width, order.wish.height
        shape = (
            self._bundle.decoder.latent_channels,
            *(side // self._bundle.decoder.factor for side in (height, width)),
        )
        rows = [
            Row(
                job_id=request.job_id,
                index=index,
                seed=seed,
                key=BatchKey(self._bundle.info.name, order.stack.denoiser.name, width, height, order.wish.guided),
                plan=order.plan,
                conditioning=conditioning,
                guidance=order.guidance,
                deadline=job.deadline,
                latent=initial_latent(seed, order.plan, shape, self._bundle.device),
                wants_previews=request.previews and self._bundle.preview_decoder is not None,
            )
            for index, seed in enumerate(request.seeds)
        ]
        return Prepared(job, rows, _started(request, reports, order))

    def _order(self, request: Generate) -> _Order:
        info = self._bundle.info
        adapter = request.adapter or info.default_adapter
        sampler = request.sampler or info.default_sampler
        steps = request.steps or info.default_steps
        guidance = info.default_guidance if request.guidance is None else request.guidance
        strength = info.default_strength if request.strength is None else request.strength
        width, height = request.width or info.default_size[0], request.height or info.default_size[1]
        _require(adapter in info.adapters, request, "unknown_adapter", adapter, info.adapters)
        _require(sampler in info.samplers, request, "unknown_sampler", sampler, info.samplers)
        _require(steps <= info.max_steps, request, "too_many_steps", steps, info.max_steps)
        sizes = [f"{w}x{h}" for w, h in info.sizes]
        _require((width, height) in info.sizes, request, "unknown_size", f"{width}x{height}", sizes)
        wish = Wish(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            subject=request.subject,
            width=width,
            height=height,
            num_steps=steps,
            strength=strength,
            guided=guidance > 1,  # at 1 the negative branch cancels out, below it would push away from the prompt
        )
        plan = make_plan(sampler, steps, self._bundle.schedule)
        return _Order(self._bundle.stacks[adapter], wish, sampler, plan, guidance)

    def _check_prompt(self, order: _Order, request: Generate) -> None:
        try:
            order.stack.adapter.check(order.wish, len(request.selfies))
        except ValueError as error:
            failed = Failed(
                job_id=request.job_id,
                code=getattr(error, "code", "prompt_too_long"),
                message=str(error),
                fault="caller",
                value=getattr(error, "value", None),
                limit=getattr(error, "limit", None),
            )
            raise JobRefused(failed) from None

    def _find_faces(self, job: Job) -> tuple[list[Face], list[FaceReport]]:
        """One usable face per selfie. Every selfie is looked at, so that one answer names all that is wrong."""
        began = self._clock()
        judgements = [self._judge(selfie, job.request) for selfie in job.request.selfies]
        job.watch.face = self._clock() - began
        reports = [judgement.report for judgement in judgements]
        for index, judgement in enumerate(judgements):
            if judgement.code is not None:
                raise JobRefused(
                    Failed(
                        job_id=job.request.job_id,
                        code=judgement.code,
                        message=judgement.message,
                        fault="caller",
                        value=judgement.value,
                        limit=judgement.limit,
                        selfie=index,
                        faces=reports,
                    )
                )
        return [judgement.face for judgement in judgements if judgement.face is not None], reports

    def _judge(self, selfie: Picture, request: Generate) -> Judgement:
        pixels = np.frombuffer(selfie.rgb, np.uint8).reshape(selfie.height, selfie.width, 3)
        return judge(pixels, self._analyzer.analyze(pixels), self._limits, request.several_faces)


def _require(holds: bool, request: Generate, code: str, value: str | int, allowed: list[str] | int) -> None:
    if holds:
        return
    limit = ", ".join(allowed) if isinstance(allowed, list) else allowed
    words = code.split("_", 1)[1].replace("_", " ")
    message = (
        f"{value} {words} are over the limit of {limit}."
        if isinstance(allowed, int)
        else (f"The {words} {value!r} is not available here. Choose one of: {limit}.")
    )
    raise JobRefused(
        Failed(job_id=request.job_id, code=code, message=message, fault="caller", value=value, limit=limit)
    )


def _started(request: Generate, reports: list[FaceReport], order: _Order) -> Started:
    return Started(
        job_id=request.job_id,
        faces=reports,
        adapter=order.stack.adapter.name,
        sampler=order.sampler,
        steps=order.wish.num_steps,
        width=order.wish.width,
        height=order.wish.height,
    )
