"""A checked form, a style and what the worker has become the message that the worker gets."""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from models.wire.bundle_info import BundleInfo
from models.wire.order import Generate
from models.wire.picture import Picture
from models.wire.reports import Ready
from service.api.forms.portrait import MAX_SEED, PortraitForm
from service.errors import BadRequest
from service.jobs.job import Summary
from service.styles import PLACE, SUBJECTS, Style, Styles

POSE_FIELDS = ("framing", "control_strength", "region")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Photos:
    """A request's pictures, decoded."""

    selfies: Sequence[Picture]
    pose: Picture | None = None


class Wish:
    """What the caller asked for after every check that needs no pixels. `style` is None for a prompt of their own."""

    def __init__(
        self, form: PortraitForm, styles: Styles, warm: Ready, *, max_images: int, has_pose: bool = False
    ) -> None:
        bundle = warm.bundle
        if form.style is not None and form.prompt is not None:
            raise BadRequest("style_and_prompt", "Send a style or a prompt, not both.", value=form.style)
        _check_known("subject", form.subject, SUBJECTS)
        _check_known("sampler", form.sampling.sampler, bundle.samplers)
        check_adapter(form.adapter, warm)
        _check_pose(form, bundle, has_pose)
        _check_known("lora", form.sampling.lora, [lora.name for lora in bundle.loras])
        _check_at_most("n", form.n, max_images)
        _check_at_most("steps", form.sampling.steps, bundle.max_steps)
        self.form = form
        self.bundle = bundle
        self.style: Style | None = styles.find(form.style) if form.prompt is None else None
        self.size = read_size(form.sampling.size, bundle.sizes)
        self.seeds = _seeds(form.seed, form.n)

    @property
    def prompt(self) -> str:
        if self.style is not None:
            return self.style.prompt_for(self.form.subject)
        return with_subject(self.form.prompt or "", self.form.subject)

    @property
    def summary(self) -> Summary:
        """With the bundle's defaults where form and style are silent."""
        form, bundle = self.form, self.bundle
        width, height = self.size or bundle.default_size
        steps = form.sampling.steps or bundle.default_steps
        guidance = _first(form.sampling.guidance, self.style and self.style.guidance)
        is_guided = (bundle.default_guidance if guidance is None else guidance) > 1
        area = width * height / (bundle.default_size[0] * bundle.default_size[1])
        return Summary(
            model=bundle.name,
            style=self.style.name if self.style is not None else None,
            adapter=form.adapter or bundle.default_adapter,
            seeds=self.seeds,
            width=width,
            height=height,
            steps=steps,
            format=form.delivery.format,
            cost=len(self.seeds) * steps * area * (2 if is_guided else 1),
        )

    def order(self, job_id: str, photos: Photos, seconds_left: float) -> Generate:
        """The message, with the style's defaults where the form is silent; None is the bundle's default."""
        form, style = self.form, self.style
        width, height = self.size or (None, None)
        return Generate(
            job_id=job_id,
            selfies=list(photos.selfies),
            pose=photos.pose,
            prompt=self.prompt,
            negative_prompt=_first(form.negative_prompt, style and style.negative_prompt),
            subject=form.subject,
            seeds=self.seeds,
            width=width,
            height=height,
            steps=form.sampling.steps,
            sampler=form.sampling.sampler,
            guidance=_first(form.sampling.guidance, style and style.guidance),
            adapter=form.adapter,
            strength=_first(form.sampling.strength, style and style.strength),
            framing=form.placing.framing,
            control_strength=form.placing.control_strength,
            region=form.placing.region or "picture",
            lora=form.sampling.lora,
            lora_scale=form.sampling.lora_scale,
            format=form.delivery.format,
            quality=form.delivery.quality,
            deadline_seconds=seconds_left,
            previews=form.delivery.previews,
            several_faces=form.several_faces,
        )


def with_subject(prompt: str, subject: str) -> str:
    """A caller's prompt with the class word in it: in place of `{subject}`, as written, or in front."""
    if PLACE in prompt:
        return prompt.replace(PLACE, subject)
    if re.search(rf"\b{re.escape(subject)}\b", prompt, flags=re.IGNORECASE):
        return prompt
    return f"portrait photo of a {subject}, {prompt}"


def _first(mine: T | None, default: T | None) -> T | None:
    return default if mine is None else mine


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
    given += [field for field in POSE_FIELDS if getattr(form.placing, field) is not None]
    can = [adapter.name for adapter in bundle.adapters if adapter.takes_pose]
    if given and name not in can:
        who = f"choose {' or '.join(can)}" if can else "no adapter that is warm here can"
        raise BadRequest(
            "pose_unsupported",
            f"The adapter '{name}' can't be told where the face goes: leave out '{given[0]}', or {who}.",
            value=name,
            extra={"field": given[0], "allowed": can},
        )


def _check_at_most(field: str, value: float | None, limit: float) -> None:
    if value is not None and value > limit:
        raise BadRequest(f"{field}_too_large", f"The field {field} is over its limit.", value=value, limit=limit)


def read_size(text: str | None, sizes: Sequence[tuple[int, int]]) -> tuple[int, int] | None:
    """`WxH` as numbers, if the bundle makes that size."""
    if text is None:
        return None
    made = {f"{width}x{height}": (width, height) for width, height in sizes}
    if text not in made:
        raise BadRequest(
            "unknown_size", "This model does not make that size.", value=text, extra={"allowed": list(made)}
        )
    return made[text]


def _seeds(first: int | None, count: int) -> list[int]:
    """`first`, `first + 1`, ... up to the largest and on from 0; unpredictable ones when none is given."""
    if first is None:
        return [secrets.randbelow(MAX_SEED + 1) for _ in range(count)]
    return [(first + index) % (MAX_SEED + 1) for index in range(count)]
