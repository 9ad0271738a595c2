"""One block of the comparison, in a process of its own: one kind of pipeline, several cases, everything it took."""

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor

from models.bundle.modules import Place
from models.sdxl.speed import Compile, Speed
from models.worker.compile_cache import CompileCache, key_of
from scripts.gpu.ours import BatchTimes, Case, Ours
from scripts.gpu.probe import Memory, copy_gbps, peak_tflops, settle, state, versions
from scripts.gpu.shapes import SHAPES
from scripts.gpu.stock import StockOnGpu

Kind = Literal["stock", "stock-compiled", "ours"]
LEAST_ROUNDS = 3


class BlockPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a block is to do; crosses to its process as JSON."""

    kind: Kind
    cases: list[tuple[str, int, int]]  # adapter, side, batch
    shapes: str
    steps: int = 4
    case_seconds: float = 3.0
    rounds: int = 40  # of one case at most
    compile: Compile = "off"
    fp8: bool = False
    graphs: bool = True
    cache: str | None = None  # of compiled code, a folder
    began: float | None = None  # time.time() when the process was started
    until: float = math.inf  # time.time() after which no further case is begun
    growth_jobs: int = 0
    quality: bool = False  # hold pictures against those of plain bfloat16


@dataclass(slots=True)
class _Bench:
    plan: BlockPlan
    place: Place
    subject: Ours | StockOnGpu


def run_block(plan: BlockPlan) -> dict[str, Any]:
    """Everything that was measured, ready for JSON. Cases that time did not allow are not there."""
    on_gpu = torch.cuda.is_available() and plan.shapes == "full"
    place = Place(torch.device("cuda:0" if on_gpu else "cpu"), torch.bfloat16 if on_gpu else torch.float32)
    cases = [Case(*case) for case in plan.cases]
    with torch.inference_mode():
        references = _references(plan, place, cases[0]) if plan.quality else []
        cache = _cache(plan, place)
        memory = Memory()
        bench, cold = _start(plan, place, cases)
        memory.look(place.device)
        peak, copy = peak_tflops(place), copy_gbps(place)
        memory.look_away(place.device)
        result: dict[str, Any] = {
            "plan": msgspec.to_builtins(replace_infinity(plan)),
            "device": torch.cuda.get_device_name(place.device) if on_gpu else "cpu",
            "versions": versions(),
            "peak_tflops": round(peak, 3),
            "copy_gbps": round(copy, 1),
            "attention": bench.subject.attention,
            "cold": cold,
            "cases": [_measured(bench, case) for case in cases if time.time() < plan.until],
        }
        if cache is not None:
            result["cache_saved"] = cache.save()
        if references:
            result["psnr_db"] = _psnr(references, _pictures(bench.subject, cases[0]))
        if plan.growth_jobs and time.time() < plan.until:
            result["growth"] = _growth(bench, cases[-1])
        result |= {"recordings": bench.subject.num_recordings, "state": state(place.device)}
        memory.look(place.device)
        result["peak_memory_gb"] = round(memory.allocated, 2) if on_gpu else None
        result["reserved_memory_gb"] = round(torch.cuda.memory_reserved() / 1e9, 2) if on_gpu else None
    return result


def replace_infinity(plan: BlockPlan) -> BlockPlan:
    """JSON has none."""
    return msgspec.structs.replace(plan, until=0.0)


def _cache(plan: BlockPlan, place: Place) -> CompileCache | None:
    if plan.cache is None or plan.compile == "off":
        return None
    cache = CompileCache(Path(plan.cache), key_of(_speed(plan), place.device))
    cache.load()
    return cache


def _speed(plan: BlockPlan) -> Speed:
    return Speed(graphs=plan.graphs, compile=plan.compile, fp8=plan.fp8)


def _start(plan: BlockPlan, place: Place, cases: Sequence[Case]) -> tuple[_Bench, dict[str, float]]:
    """Build, warm up, make one picture; seconds since the process was started."""
    started = plan.began or time.time()
    loaded = {"imports": time.time() - started}
    shapes = SHAPES[plan.shapes]
    if plan.kind == "ours":
        subject: Ours | StockOnGpu = Ours(shapes, place, _speed(plan), plan.steps)
    else:
        compiled = plan.kind == "stock-compiled" and plan.shapes == "full"  # a toy has no minutes to spare
        subject = StockOnGpu(shapes, place, plan.steps, compiled=compiled)
    settle(place.device)
    loaded["weights"] = time.time() - started
    subject.warm(cases)
    settle(place.device)
    loaded["warm"] = time.time() - started
    subject.take(cases[0], 1)
    loaded["first_picture"] = time.time() - started
    return _Bench(plan, place, subject), {name: round(seconds, 2) for name, seconds in loaded.items()}


def _measured(bench: _Bench, case: Case) -> dict[str, Any]:
    plan, rounds = bench.plan, list[BatchTimes]()
    began = time.perf_counter()
    while len(rounds) < plan.rounds:
        rounds.append(bench.subject.take(case, len(rounds)))
        if len(rounds) >= LEAST_ROUNDS and time.perf_counter() - began > plan.case_seconds * 2 / 3:
            break
    return {
        "adapter": case.adapter,
        "size": case.size,
        "batch": case.batch,
        "rounds": len(rounds),
        "total_ms": _spread([taken.total for taken in rounds]),
        "step_ms": _spread([seconds for taken in rounds for seconds in taken.steps]),
        "decode_ms": _spread([seconds for taken in rounds for seconds in taken.decodes]),
        "images_per_second": round(bench.subject.flow(case, plan.case_seconds / 3), 3),
        "state": state(bench.place.device),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 99th percentile in ms; of few rounds the latter is the largest."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    at = {"p50": len(ordered) // 2, "p99": min(int(len(ordered) * 0.99), len(ordered) - 1)}
    return {name: round(ordered[index] * 1000, 3) for name, index in at.items()}


def _references(plan: BlockPlan, place: Place, case: Case) -> list[Tensor]:
    """Pictures of the same weights without anything that changes numbers; gone before the measured networks come."""
    plain = Ours(SHAPES[plan.shapes], place, Speed(graphs=False), plan.steps)
    pictures = _pictures(plain, case)
    del plain
    gc.collect()
    if place.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return pictures


def _pictures(subject: Ours | StockOnGpu, case: Case) -> list[Tensor]:
    assert isinstance(subject, Ours)
    return subject.pictures(replace(case, batch=1), seed=7)


def _psnr(references: Sequence[Tensor], pictures: Sequence[Tensor]) -> float:
    error = torch.cat([(a.float() - b.float()).flatten() for a, b in zip(references, pictures, strict=True)])
    mean = float((error * error).mean())
    return round(10 * math.log10(255**2 / mean), 2) if mean else 99.0


def _growth(bench: _Bench, case: Case) -> dict[str, float]:
    """Device memory that further jobs added, in MB; the first tenth still fills caches."""
    if bench.place.device.type != "cuda":
        return {"jobs": 0, "grown_mb": 0.0}
    jobs, before = bench.plan.growth_jobs, 0
    for job in range(jobs):
        if job == jobs // 10:
            before = torch.cuda.memory_allocated()
        bench.subject.take(case, job)
    return {"jobs": jobs, "grown_mb": round((torch.cuda.memory_allocated() - before) / 1e6, 2)}
