"""An order with the bundle's defaults filled in and checked against its limits: what is to be drawn, and how."""

from dataclasses import dataclass, replace

import msgspec

from models.adapters.adapter import Scene, Size
from models.bundle.bundle import Bundle, Stack
from models.engine.plan import Level, Plan, Process, make_plan
from models.engine.rows import BatchKey
from models.engine.variance_preserving import VariancePreserving
from models.weights.manifest import FinalSpec
from models.wire.bundle_info import BundleInfo
from models.wire.events import Failed
from models.wire.filled_sampling import FilledSampling
from models.wire.groups import merge, size_text
from models.wire.order import Final, Order
from models.worker.job import JobRefused


@dataclass(frozen=True, slots=True)
class FilledFinal:
    """How a picture goes on to be a final. `scene` is that of the refinement, `size` that of what leaves."""

    scene: Scene
    plan: Plan
    first: int
    level: Level
    size: Size

    @property
    def num_steps(self) -> int:
        return len(self.plan) - self.first


@dataclass(frozen=True, slots=True)
class FilledOrder:
    """`size` is that of the pictures that leave: larger than the scene's for a final, smaller for a small preview."""

    stack: Stack
    scene: Scene
    plan: Plan
    size: Size
    final: FilledFinal | None

    @property
    def sampling(self) -> FilledSampling:
        """Of the pictures to come."""
        sampling = self.scene.sampling
        if self.final is None:
            return sampling
        steps = sampling.steps + self.final.num_steps
        return msgspec.structs.replace(sampling, size=size_text(self.final.size), steps=steps)

    def key(self, bundle: BundleInfo, scene: Scene) -> BatchKey:
        sampling = scene.sampling
        return BatchKey(
            bundle.name, self.stack.denoiser.name, sampling.width, sampling.height, sampling.is_guided, scene.lora
        )


def fill(order: Order, bundle: Bundle) -> FilledOrder:
    """Raises JobRefused for what this bundle can't do. May fetch a style LoRA from the disk."""
    info = bundle.info
    adapter = order.adapter or info.default_adapter
    adapters = [one.name for one in info.adapters]
    _require(adapter in adapters, order, "unknown_adapter", adapter, adapters)
    stack = bundle.stacks[adapter]
    scene = Scene(
        words=order.words,
        sampling=_sampling(order, bundle, stack),
        placing=merge(order.placing, info.placing),
    )
    plan = make_plan(scene.sampling.sampler, scene.sampling.steps, _process(bundle.process, scene.sampling.gamma))
    final = _final(order, order.final, bundle, scene) if order.final is not None else None
    return FilledOrder(stack, scene, plan, _leaving(order, scene, final), final)


def _sampling(order: Order, bundle: Bundle, stack: Stack) -> FilledSampling:
    info = bundle.info
    usual = msgspec.structs.replace(info.sampling, size=size_text(_usual_size(info, stack)))
    sampling, sizes = merge(order.sampling, usual), _in_words(info.sizes)
    _require(sampling.sampler in info.samplers, order, "unknown_sampler", sampling.sampler, info.samplers)
    _require(sampling.steps <= info.max_steps, order, "too_many_steps", sampling.steps, info.max_steps)
    _require(sampling.size in sizes, order, "unknown_size", sampling.size, sizes)
    return _with_lora(order, sampling, bundle)


def _process(process: Process, gamma: float | None) -> Process:
    """The bundle's own, with the order's stochasticity; only the variance-preserving process has the sampler tcd."""
    if gamma is None or not isinstance(process, VariancePreserving):
        return process
    return replace(process, gamma=gamma)


def _usual_size(info: BundleInfo, stack: Stack) -> Size:
    """The bundle's own, or where the adapter spoils its pictures the next in area that it doesn't."""
    width, height = info.default_size
    if (width, height) not in stack.adapter.spoiled_sizes:
        return width, height
    good = [size for size in info.sizes if size not in stack.adapter.spoiled_sizes]
    return min(good, key=lambda size: abs(size[0] * size[1] - width * height), default=(width, height))


def _with_lora(order: Order, sampling: FilledSampling, bundle: Bundle) -> FilledSampling:
    """The style LoRA, fetched here if it has to be, so that the engine's thread never waits for a disk."""
    if sampling.lora is None:
        return sampling
    known = {lora.name: lora.scale for lora in bundle.info.loras}
    _require(sampling.lora in known, order, "unknown_lora", sampling.lora, list(known))
    scale = known[sampling.lora] if sampling.lora_scale is None else sampling.lora_scale
    if scale == 0 or bundle.style_loras is None:
        return msgspec.structs.replace(sampling, lora=None, lora_scale=None)
    bundle.style_loras.take(sampling.lora)
    return msgspec.structs.replace(sampling, lora_scale=scale)


def _final(order: Order, asked: Final, bundle: Bundle, scene: Scene) -> FilledFinal:
    """The rest of a longer plan of the bundle's own sampler, at the size at which its UNet refines."""
    spec = bundle.final
    if spec is None:
        message = "The models that are loaded here make no finals."
        raise JobRefused(Failed(job_id=order.job_id, code="finals_unavailable", message=message, fault="caller"))
    size = _final_size(order, asked, spec, scene.sampling)
    drawn = size_text(size) if spec.enlarge == "before" else scene.sampling.size
    process = _process(bundle.process, scene.sampling.gamma)
    plan = make_plan(bundle.info.default_sampler, spec.steps, process)
    first = spec.steps - spec.refining
    refined = replace(scene, sampling=msgspec.structs.replace(scene.sampling, size=drawn, steps=spec.steps))
    return FilledFinal(refined, plan, first, bundle.process.level_at(plan.steps[first].t), size)


def _final_size(order: Order, asked: Final, spec: FinalSpec, preview: FilledSampling) -> Size:
    """The one asked for, or the largest of the picture's shape."""
    width, height = preview.width, preview.height
    alike = {size_text((w, h)): (w, h) for w, h in spec.sizes if w * height == h * width and w > width}
    wanted = asked.size or max(alike, key=alike.__getitem__, default="any")
    _require(wanted in alike, order, "unknown_size", wanted, list(alike))
    return alike[wanted]


def _leaving(order: Order, scene: Scene, final: FilledFinal | None) -> Size:
    width, height = final.size if final else (scene.sampling.width, scene.sampling.height)
    longest = order.delivery.longest_side
    if longest is None or max(width, height) <= longest:
        return width, height
    share = longest / max(width, height)
    return max(round(width * share), 1), max(round(height * share), 1)


def _in_words(sizes: list[Size]) -> list[str]:
    return [size_text(size) for size in sizes]


def _require(holds: bool, order: Order, code: str, value: str | int, allowed: list[str] | int) -> None:
    if holds:
        return
    limit = ", ".join(allowed) if isinstance(allowed, list) else allowed
    words = code.split("_", 1)[1].replace("_", " ")
    if isinstance(allowed, int):
        message = f"{value} {words} are over the limit of {limit}."
    else:
        choice = f". Choose one of: {limit}." if allowed else "; there is none to choose."
        message = f"The {words} {value!r} is not available here{choice}"
    raise JobRefused(Failed(job_id=order.job_id, code=code, message=message, fault="caller", value=value, limit=limit))
