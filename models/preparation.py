"""From a request to rows: check, find the face, judge the photo, encode the identity and the prompt.

Runs on the preparation thread, while the engine's thread ticks. The cheapest refusals come first: nothing computes
for a request that can't be met.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.adapters.adapter import Pose, Size, Wish
from models.engine.plan import Plan, make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.faces.agreement import disagreement
from models.faces.face import Face, FaceAnalyzer, Rgb
from models.faces.judge import Judgement, Limits, judge
from models.job import Job, JobRefused
from models.messages import FaceReport, Failed, Generate, Picture, Started
from models.sdxl.lora_choice import LoraChoice
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
        checked = self._clock()
        faces, reports = self._find_faces(job, self._analyzer.for_space(order.stack.adapter.face_space))
        wish = replace(order.wish, pose=self._find_pose(request))
        embedded = self._clock()
        identity = order.stack.adapter.identity(request.selfies, faces)
        encoded = self._clock()
        conditioning = order.stack.adapter.condition(identity, wish)
        job.watch.face = embedded - checked
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
                key=self._key(order),
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

    def _key(self, order: _Order) -> BatchKey:
        wish = order.wish
        return BatchKey(
            self._bundle.info.name, order.stack.denoiser.name, wish.width, wish.height, wish.guided, wish.lora
        )

    def _order(self, request: Generate) -> _Order:
        info = self._bundle.info
        adapter = request.adapter or info.default_adapter
        sampler = request.sampler or info.default_sampler
        steps = request.steps or info.default_steps
        guidance = info.default_guidance if request.guidance is None else request.guidance
        strength = info.default_strength if request.strength is None else request.strength
        adapters = [one.name for one in info.adapters]
        _require(adapter in adapters, request, "unknown_adapter", adapter, adapters)
        _require(sampler in info.samplers, request, "unknown_sampler", sampler, info.samplers)
        _require(steps <= info.max_steps, request, "too_many_steps", steps, info.max_steps)
        stack = self._bundle.stacks[adapter]
        width, height = self._size(request, stack)
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
            lora=self._lora(request),
            framing=request.framing,
            control_strength=request.control_strength,
            control_window=request.control_window,
            region=request.region,
        )
        plan = make_plan(sampler, steps, self._bundle.schedule)
        return _Order(stack, wish, sampler, plan, guidance)

    def _size(self, request: Generate, stack: Stack) -> Size:
        """The bundle's own, or where the adapter spoils its pictures the next in area that it doesn't."""
        width, height = self._bundle.info.default_size
        if (width, height) in stack.adapter.spoiled_sizes:
            good = [size for size in self._bundle.info.sizes if size not in stack.adapter.spoiled_sizes]
            width, height = min(good, key=lambda size: abs(size[0] * size[1] - width * height), default=(width, height))
        return request.width or width, request.height or height

    def _lora(self, request: Generate) -> LoraChoice | None:
        """The style LoRA, fetched here if it has to be, so that the engine's thread never waits for a disk."""
        if request.lora is None:
            return None
        known = {lora.name: lora for lora in self._bundle.info.loras}
        _require(request.lora in known, request, "unknown_lora", request.lora, list(known))
        scale = known[request.lora].scale if request.lora_scale is None else request.lora_scale
        if scale == 0 or self._bundle.shelf is None:
            return None
        self._bundle.shelf.take(request.lora)
        return LoraChoice(request.lora, scale)

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

    def _find_faces(self, job: Job, analyzer: FaceAnalyzer) -> tuple[list[Face], list[FaceReport]]:
        """One usable face per selfie. Every selfie is looked at, so that one answer names all that is wrong."""
        judgements = [self._judge(selfie, job.request, analyzer) for selfie in job.request.selfies]
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
        faces = [judgement.face for judgement in judgements if judgement.face is not None]
        _refuse_several_people(job.request, faces, reports)
        return faces, reports

    def _find_pose(self, request: Generate) -> Pose | None:
        """The largest face of the pose photo. It may be small, dark or blurred: only where it is counts."""
        if request.pose is None:
            return None
        faces = self._analyzer.analyze(_pixels(request.pose))
        if not faces:
            message = (
                "No face was found in the pose photo. Send one that shows a whole face, or leave it out and choose "
                "a framing."
            )
            raise JobRefused(
                Failed(job_id=request.job_id, code="pose_no_face", message=message, fault="caller", value=0, limit=1)
            )
        return Pose.of(request.pose, faces[0])

    def _judge(self, selfie: Picture, request: Generate, analyzer: FaceAnalyzer) -> Judgement:
        pixels = _pixels(selfie)
        return judge(pixels, analyzer.analyze(pixels), self._limits, request.several_faces)


def _pixels(picture: Picture) -> Rgb:
    return np.frombuffer(picture.rgb, np.uint8).reshape(picture.height, picture.width, 3)


def _refuse_several_people(request: Generate, faces: list[Face], reports: list[FaceReport]) -> None:
    found = disagreement(faces)
    if found is None:
        return
    people = "; ".join(" and ".join(str(index) for index in group) for group in found.groups)
    message = (
        f"The selfies seem to be of {len(found.groups)} people (counted from 0: {people}). The likest two of different "
        f"people have a likeness of {found.nearest:.2f}, and one person's have {found.threshold:.2f} or more. "
        "Send photos of one person."
    )
    raise JobRefused(
        Failed(
            job_id=request.job_id,
            code="identities_disagree",
            message=message,
            fault="caller",
            value=found.nearest,
            limit=found.threshold,
            selfie=found.groups[-1][0],
            likeness=found.likeness,
            faces=reports,
        )
    )


def _require(holds: bool, request: Generate, code: str, value: str | int, allowed: list[str] | int) -> None:
    if holds:
        return
    limit = ", ".join(allowed) if isinstance(allowed, list) else allowed
    words = code.split("_", 1)[1].replace("_", " ")
    if isinstance(allowed, int):
        message = f"{value} {words} are over the limit of {limit}."
    else:
        choice = f". Choose one of: {limit}." if allowed else "; there is none to choose."
        message = f"The {words} {value!r} is not available here{choice}"
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
