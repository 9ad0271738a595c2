"""A request with the bundle's defaults filled in and checked against its limits: what is to be drawn, and how."""

from dataclasses import dataclass, replace

from models.adapters.adapter import Size, Wish
from models.bundle.bundle import Bundle, Stack
from models.engine.plan import Level, Plan, make_plan
from models.engine.rows import BatchKey
from models.sdxl.lora_choice import LoraChoice
from models.weights.manifest import FinalSpec
from models.wire.bundle_info import BundleInfo
from models.wire.events import Failed
from models.wire.order import Generate
from models.worker.job import JobRefused


@dataclass(frozen=True, slots=True)
class FinalOrder:
    """How a picture goes on to be a final. `wish` is that of the refinement, `size` that of what leaves."""

    wish: Wish
    plan: Plan
    first: int
    level: Level
    size: Size

    @property
    def num_steps(self) -> int:
        return len(self.plan) - self.first


@dataclass(frozen=True, slots=True)
class Order:
    """`size` is that of the pictures that leave: larger than the wish's for a final, smaller for a small preview."""

    stack: Stack
    wish: Wish
    sampler: str
    plan: Plan
    guidance: float
    size: Size
    final: FinalOrder | None

    def key(self, bundle: BundleInfo, wish: Wish) -> BatchKey:
        return BatchKey(bundle.name, self.stack.denoiser.name, wish.width, wish.height, wish.guided, wish.lora)


def read_order(request: Generate, bundle: Bundle) -> Order:
    """Raises JobRefused for what this bundle can't do. May fetch a style LoRA from the disk."""
    info = bundle.info
    adapter = request.adapter or info.default_adapter
    sampler = request.sampler or info.default_sampler
    steps = request.steps or info.default_steps
    guidance = info.default_guidance if request.guidance is None else request.guidance
    adapters = [one.name for one in info.adapters]
    _require(adapter in adapters, request, "unknown_adapter", adapter, adapters)
    _require(sampler in info.samplers, request, "unknown_sampler", sampler, info.samplers)
    _require(steps <= info.max_steps, request, "too_many_steps", steps, info.max_steps)
    stack = bundle.stacks[adapter]
    width, height = _size(request, info, stack)
    _require((width, height) in info.sizes, request, "unknown_size", f"{width}x{height}", _in_words(info.sizes))
    wish = Wish(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        subject=request.subject,
        width=width,
        height=height,
        num_steps=steps,
        strength=info.default_strength if request.strength is None else request.strength,
        guided=guidance > 1,  # at 1 the negative branch cancels out, below it would push away from the prompt
        lora=_lora(request, bundle),
        framing=request.framing or info.default_framing,
        control_strength=request.control_strength,
        control_window=request.control_window,
        region=request.region,
    )
    plan = make_plan(sampler, steps, bundle.process)
    final = _final(request, bundle, wish)
    return Order(stack, wish, sampler, plan, guidance, _leaving(request, wish, final), final)


def _size(request: Generate, info: BundleInfo, stack: Stack) -> Size:
    """The bundle's own, or where the adapter spoils its pictures the next in area that it doesn't."""
    width, height = info.default_size
    if (width, height) in stack.adapter.spoiled_sizes:
        good = [size for size in info.sizes if size not in stack.adapter.spoiled_sizes]
        width, height = min(good, key=lambda size: abs(size[0] * size[1] - width * height), default=(width, height))
    return request.width or width, request.height or height


def _lora(request: Generate, bundle: Bundle) -> LoraChoice | None:
    """The style LoRA, fetched here if it has to be, so that the engine's thread never waits for a disk."""
    if request.lora is None:
        return None
    known = {lora.name: lora for lora in bundle.info.loras}
    _require(request.lora in known, request, "unknown_lora", request.lora, list(known))
    scale = known[request.lora].scale if request.lora_scale is None else request.lora_scale
    if scale == 0 or bundle.style_loras is None:
        return None
    bundle.style_loras.take(request.lora)
    return LoraChoice(request.lora, scale)


def _final(request: Generate, bundle: Bundle, wish: Wish) -> FinalOrder | None:
    """The rest of a longer plan of the bundle's own sampler, at the size at which its UNet refines."""
    if request.final is None:
        return None
    spec = bundle.final
    if spec is None:
        message = "The models that are loaded here make no finals."
        raise JobRefused(Failed(job_id=request.job_id, code="finals_unavailable", message=message, fault="caller"))
    size = _final_size(request, spec, wish)
    width, height = size if spec.enlarge == "before" else (wish.width, wish.height)
    plan = make_plan(bundle.info.default_sampler, spec.steps, bundle.process)
    first = spec.steps - spec.refining
    refined = replace(wish, width=width, height=height, num_steps=spec.steps)
    return FinalOrder(refined, plan, first, bundle.process.level_at(plan.steps[first].t), size)


def _final_size(request: Generate, spec: FinalSpec, wish: Wish) -> Size:
    """The one asked for, or the largest of the picture's shape."""
    alike = [(w, h) for w, h in spec.sizes if w * wish.height == h * wish.width and w > wish.width]
    largest = max(alike, default=(0, 0))
    asked = request.final
    assert asked is not None
    size = (asked.width or largest[0], asked.height or largest[1])
    _require(size in alike, request, "unknown_size", f"{size[0]}x{size[1]}" if any(size) else "any", _in_words(alike))
    return size


def _leaving(request: Generate, wish: Wish, final: FinalOrder | None) -> Size:
    width, height = final.size if final else (wish.width, wish.height)
    if request.longest_side is None or max(width, height) <= request.longest_side:
        return width, height
    share = request.longest_side / max(width, height)
    return max(round(width * share), 1), max(round(height * share), 1)


def _in_words(sizes: list[Size]) -> list[str]:
    return [f"{width}x{height}" for width, height in sizes]


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
