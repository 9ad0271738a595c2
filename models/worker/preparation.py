"""From an order to rows: check, find the face, judge the photo, encode the identity and the prompt.

Runs on the preparation thread, while the engine's thread ticks. The cheapest refusals come first: nothing computes
for an order that can't be met.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from models.adapters.adapter import Adapter, Pose, Size
from models.adapters.packing import IdentityRefused, Kept, pack, unpack
from models.bundle.bundle import Bundle
from models.engine.rows import Refinement, Row, initial_latent
from models.faces.agreement import disagreement
from models.faces.face import Face, FaceAnalyzer
from models.faces.face_cache import FaceCache, pixels_of, upright
from models.faces.judge import Judgement, PhotoLimits, judge
from models.wire.events import FaceReport, Failed, JobWarning, Pair, Started
from models.wire.order import Order
from models.wire.picture import Picture
from models.worker.job import JobRefused, WorkerJob
from models.worker.orders import FilledFinal, FilledOrder, fill


@dataclass(frozen=True, slots=True)
class Prepared:
    """Ready to run: the rows, the size of what leaves, and what the caller is told when the first row starts."""

    job: WorkerJob
    rows: list[Row]
    size: Size
    started: Started


class Preparer:
    """Holds warm models and no order. One thread at a time calls `prepare`."""

    def __init__(
        self,
        bundle: Bundle,
        analyzer: FaceAnalyzer,
        *,
        limits: PhotoLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bundle = bundle
        self._analyzer = analyzer
        self._limits = limits or PhotoLimits()
        self._clock = clock

    def prepare(self, job: WorkerJob) -> Prepared:
        """Raises JobRefused with what the caller is to be told. An enrolment comes out without rows."""
        order = job.order
        job.watch.preparation_began = self._clock()
        filled = fill(order, self._bundle)
        if order.identity is None:
            _check_prompt(filled, order, len(order.photos.selfies))
            kept, reports, warnings = self._read_photos(job, filled.stack.adapter, FaceCache(self._analyzer))
        else:
            kept, reports, warnings = self._unpack_identity(job, filled, order.identity), [], []
        known = self._clock()
        rows = self._rows(job, filled, kept) if order.seeds else []
        job.watch.prepared = self._clock()
        job.watch.text = job.watch.prepared - known
        identity = pack(kept, filled.stack.adapter, self._bundle.info.revision) if order.wants_identity else None
        return Prepared(job, rows, filled.size, _started(order, reports, warnings, filled, identity))

    # ---- who it is

    def _read_photos(
        self, job: WorkerJob, adapter: Adapter, cache: FaceCache
    ) -> tuple[Kept, list[FaceReport], list[JobWarning]]:
        """The photos' way to an identity."""
        began = self._clock()
        faces, reports = self._find_faces(job, cache, adapter.face_space)
        warnings = _check_agreement(job.order, faces, reports)
        stands = self._find_pose(job.order, cache, adapter.face_space)
        embedded = self._clock()
        selfies = [upright(selfie, face) for selfie, face in zip(job.order.photos.selfies, faces, strict=True)]
        identity = adapter.identity(selfies, faces)
        job.watch.face, job.watch.identity = embedded - began, self._clock() - embedded
        return Kept(identity, stands), reports, warnings

    def _unpack_identity(self, job: WorkerJob, filled: FilledOrder, identity: bytes) -> Kept:
        """The short way: what was packed before. No selfie, no face, no encoder."""
        order, adapter = job.order, filled.stack.adapter
        began = self._clock()
        try:
            kept = unpack(identity, adapter, self._bundle.info.revision)
        except IdentityRefused as refused:
            failed = Failed(job_id=order.job_id, code=refused.code, message=str(refused), fault="caller")
            raise JobRefused(failed) from None
        job.watch.identity = self._clock() - began
        _check_prompt(filled, order, len(kept.identity.tokens) // adapter.tokens.rows_a_selfie)
        if order.photos.pose is None:
            return kept
        began = self._clock()
        kept = replace(kept, stands=self._find_pose(order, FaceCache(self._analyzer)))
        job.watch.face = self._clock() - began
        return kept

    # ---- what is drawn

    def _rows(self, job: WorkerJob, filled: FilledOrder, kept: Kept) -> list[Row]:
        order, bundle = job.order, self._bundle
        scene = replace(filled.scene, pose=kept.stands)
        conditioning = filled.stack.adapter.condition(kept.identity, scene)
        refinement = self._refinement(filled, filled.final, kept) if filled.final else None
        sides = (side // bundle.decoder.factor for side in (scene.sampling.height, scene.sampling.width))
        shape = (bundle.decoder.latent_channels, *sides)
        return [
            Row(
                job_id=order.job_id,
                index=index,
                seed=seed,
                key=filled.key(bundle.info, scene),
                plan=filled.plan,
                conditioning=conditioning,
                guidance=scene.sampling.guidance,
                deadline=job.deadline,
                latent=initial_latent(seed, filled.plan, shape, bundle.device),
                wants_previews=order.delivery.previews and bundle.preview_decoder is not None,
                refinement=refinement,
            )
            for index, seed in enumerate(order.seeds)
        ]

    def _refinement(self, filled: FilledOrder, final: FilledFinal, kept: Kept) -> Refinement:
        scene = replace(final.scene, pose=kept.stands)
        return Refinement(
            key=filled.key(self._bundle.info, scene),
            plan=final.plan,
            first=final.first,
            level=final.level,
            conditioning=filled.stack.adapter.condition(kept.identity, scene),
        )

    # ---- the photos

    def _find_faces(self, job: WorkerJob, cache: FaceCache, space: str | None) -> tuple[list[Face], list[FaceReport]]:
        """One usable face per selfie. Every selfie is looked at, so that one answer names all that is wrong."""
        judgements = [self._judge(selfie, job.order, cache, space) for selfie in job.order.photos.selfies]
        reports = [judgement.report for judgement in judgements]
        for index, judgement in enumerate(judgements):
            if judgement.code is not None:
                raise JobRefused(
                    Failed(
                        job_id=job.order.job_id,
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

    def _find_pose(self, order: Order, cache: FaceCache, space: str | None = None) -> Pose | None:
        """The largest face of the pose photo. It may be small, dark or blurred: only where it is counts."""
        if order.photos.pose is None:
            return None
        faces = cache.places(order.photos.pose, space)
        if not faces:
            message = (
                "No face was found in the pose photo. Send one that shows a whole face, or leave it out and choose "
                "a framing."
            )
            raise JobRefused(
                Failed(job_id=order.job_id, code="pose_no_face", message=message, fault="caller", value=0, limit=1)
            )
        return Pose.of(upright(order.photos.pose, faces[0]), faces[0])

    def _judge(self, selfie: Picture, order: Order, cache: FaceCache, space: str | None) -> Judgement:
        faces = cache.faces(selfie, space)
        shown = upright(selfie, faces[0]) if faces else selfie
        return judge(pixels_of(shown), faces, self._limits, order.several_faces, truncated=selfie.truncated)


def _check_agreement(order: Order, faces: list[Face], reports: list[FaceReport]) -> list[JobWarning]:
    """A warning if the selfies seem to be of several people, or the refusal that the order asks for."""
    found = disagreement(faces)
    if found is None:
        return []
    people = "; ".join(" and ".join(str(index) for index in group) for group in found.groups)
    message = (
        f"The selfies seem to be of {len(found.groups)} people (counted from 0: {people}). The likest two of different "
        f"people have a likeness of {found.nearest:.2f}, and one person's have {found.threshold:.2f} or more. "
        "Send photos of one person."
    )
    if order.disagreeing == "warn":
        pairs = [Pair(selfies=pair, likeness=found.likeness[pair[0]][pair[1]]) for pair in found.pairs]
        return [
            JobWarning(
                code="identities_disagree", message=message, value=found.nearest, limit=found.threshold, pairs=pairs
            )
        ]
    raise JobRefused(
        Failed(
            job_id=order.job_id,
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


def _check_prompt(filled: FilledOrder, order: Order, num_selfies: int) -> None:
    if not order.seeds:
        return
    try:
        filled.stack.adapter.check_scene(filled.scene, num_selfies)
    except ValueError as error:
        failed = Failed(
            job_id=order.job_id,
            code=getattr(error, "code", "prompt_too_long"),
            message=str(error),
            fault="caller",
            value=getattr(error, "value", None),
            limit=getattr(error, "limit", None),
        )
        raise JobRefused(failed) from None


def _started(
    order: Order, reports: list[FaceReport], warnings: list[JobWarning], filled: FilledOrder, identity: bytes | None
) -> Started:
    return Started(
        job_id=order.job_id,
        faces=reports,
        adapter=filled.stack.adapter.name,
        sampling=filled.sampling,
        placing=filled.scene.placing,
        warnings=warnings,
        identity=identity,
    )
