"""A checked form, a style and what the worker has become the message that the worker gets."""

import math
import secrets
from collections.abc import Sequence

from models.wire.bundle_info import BundleInfo
from models.wire.groups import Placing, Sampling, merge, size_text
from models.wire.order import Order, Photos, Words
from models.wire.reports import Ready
from models.wire.weighting import PromptSyntaxError, spans
from service.api.class_word import with_subject
from service.api.forms.portrait import MAX_SEED, PortraitForm
from service.errors import BadRequest
from service.jobs.job import Summary
from service.styles import SUBJECTS, Style, Styles
from service.word_list import WordList


class CheckedForm:
    """What the caller asked for after every check that needs no pixels. `style` is None for a prompt of their own."""

    def __init__(
        self,
        form: PortraitForm,
        styles: Styles,
        word_list: WordList,
        warm: Ready,
        *,
        max_images: int,
        has_pose: bool = False,
    ) -> None:
        bundle = warm.bundle
        form.refuse_conflicts()
        refuse_words(word_list, "subject", form.subject)
        _check_known("subject", form.subject, SUBJECTS)
        _check_known("sampler", form.sampling.sampler, bundle.samplers)
        check_adapter(form.adapter, warm)
        _check_pose(form, bundle, has_pose)
        _check_gamma(form.sampling, bundle)
        _check_known("lora", form.sampling.lora, [lora.name for lora in bundle.loras])
        _check_at_most("n", form.n, max_images)
        _check_at_most("steps", form.sampling.steps, bundle.max_steps)
        self.form = form
        self.bundle = bundle
        self.style: Style | None = styles.find(form.style) if form.prompt is None else None
        self.words = _words(form, self.style)
        if self.style is None:
            refuse_words(word_list, "prompt", self.words.prompt)
        check_size(form.sampling.size, bundle.sizes)
        self.seeds = _seeds(form.seed, form.n)

    @property
    def sampling(self) -> Sampling:
        """With the style's defaults where the form is silent; None is the bundle's default."""
        return self.form.sampling if self.style is None else merge(self.form.sampling, self.style.sampling)

    @property
    def summary(self) -> Summary:
        """With the bundle's defaults where form and style are silent."""
        form, bundle = self.form, self.bundle
        sampling = merge(self.sampling, bundle.sampling)
        area = sampling.width * sampling.height / math.prod(bundle.default_size)
        return Summary(
            model=bundle.name,
            style=self.style.name if self.style is not None else None,
            adapter=form.adapter or bundle.default_adapter,
            seeds=self.seeds,
            width=sampling.width,
            height=sampling.height,
            steps=sampling.steps,
            format=form.delivery.format,
            cost=len(self.seeds) * sampling.steps * area * (2 if sampling.is_guided else 1),
        )

    def order(self, job_id: str, photos: Photos, seconds_left: float) -> Order:
        """The message."""
        form = self.form
        return Order(
            job_id=job_id,
            photos=photos,
            several_faces=form.several_faces,
            disagreeing=form.disagreeing,
            words=self.words,
            seeds=self.seeds,
            adapter=form.adapter,
            sampling=self.sampling,
            placing=form.placing,
            delivery=form.delivery,
            deadline_seconds=seconds_left,
        )


def refuse_words(word_list: WordList, field: str, text: str) -> None:
    """Raises BadRequest for a text, weights and all, that the operator's list refuses; the refusal quotes nothing."""
    found = word_list.find(text)
    if found is not None:
        message = f"The {field} {found.sentence}, which is not drawn here: say it otherwise."
        raise BadRequest("content_refused", message, extra={"field": field, "topic": found.topic})


def _words(form: PortraitForm, style: Style | None) -> Words:
    """What the text encoders will read, weights and all. Raises BadRequest for weights that can't be read."""
    if style is None:
        (prompt, subject), usual = with_subject(form.prompt or "", form.subject), None
    else:
        (prompt, subject), usual = (style.prompt_for(form.subject), form.subject), style.negative_prompt
    words = Words(
        prompt=prompt,
        negative_prompt=usual if form.negative_prompt is None else form.negative_prompt,
        subject=subject,
    )
    _check_weights("prompt", words.prompt)
    _check_weights("negative_prompt", words.negative_prompt or "")
    return words


def _check_weights(field: str, prompt: str) -> None:
    try:
        spans(prompt)
    except PromptSyntaxError as error:
        raise BadRequest(error.code, str(error), value=error.value, limit=error.limit, extra={"field": field}) from None


def _check_known(field: str, value: str | None, allowed: Sequence[str]) -> None:
    if value is not None and value not in allowed:
        raise BadRequest(
            f"unknown_{field}", f"There is no such {field} here.", value=value, extra={"allowed": list(allowed)}
        )


def check_adapter(name: str | None, ready: Ready) -> None:
    """An adapter that we could serve but that has no weights here is told apart from one that nobody knows."""
    warm = [adapter.name for adapter in ready.bundle.adapters]
    if name is not None and name not in warm and (bundle := ready.fetchable.get(name)):
        raise BadRequest(
            "adapter_not_warm",
            f"The adapter '{name}' is known, but its weights are not loaded here. Choose one that is "
            f"({', '.join(warm)}), or have the operator run `proofsheet fetch {bundle}` and serve with "
            f"`--bundle {bundle}`.",
            value=name,
            extra={"field": "adapter", "allowed": warm},
        )
    _check_known("adapter", name, warm)


def _check_pose(form: PortraitForm, bundle: BundleInfo, has_pose: bool) -> None:
    """Some adapters draw the face where the prompt puts it; a pose sent to them would be ignored, so it is refused."""
    name = form.adapter or bundle.default_adapter
    given = ["pose"] if has_pose else []
    given += [field for field in Placing.__struct_fields__ if getattr(form.placing, field) != getattr(Placing(), field)]
    can = [adapter.name for adapter in bundle.adapters if adapter.takes_pose]
    if given and name not in can:
        who = f"choose {' or '.join(can)}" if can else "no adapter that is warm here can"
        raise BadRequest(
            "pose_unsupported",
            f"The adapter '{name}' can't be told where the face goes: leave out '{given[0]}', or {who}.",
            value=name,
            extra={"field": given[0], "allowed": can},
        )


def _check_gamma(sampling: Sampling, bundle: BundleInfo) -> None:
    """Other samplers would ignore it, so it is refused."""
    sampler = sampling.sampler or bundle.default_sampler
    if sampling.gamma is not None and sampler != "tcd":
        message = (
            f"The field 'gamma' is the sampler tcd's, and this one is {sampler}: send sampler=tcd, or leave it out."
        )
        raise BadRequest.of_field("invalid_field", "gamma", message)


def _check_at_most(field: str, value: float | None, limit: float) -> None:
    if value is not None and value > limit:
        raise BadRequest(f"{field}_too_large", f"The field {field} is over its limit.", value=value, limit=limit)


def check_size(size: str | None, sizes: Sequence[tuple[int, int]]) -> None:
    """Raises BadRequest for a size that is none of these."""
    allowed = [size_text(one) for one in sizes]
    if size is not None and size not in allowed:
        raise BadRequest("unknown_size", "This model does not make that size.", value=size, extra={"allowed": allowed})


def _seeds(first: int | None, count: int) -> list[int]:
    """`first`, `first + 1`, ... up to the largest and on from 0; unpredictable ones when none is given."""
    if first is None:
        return [secrets.randbelow(MAX_SEED + 1) for _ in range(count)]
    return [(first + index) % (MAX_SEED + 1) for index in range(count)]
