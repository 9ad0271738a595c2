"""How close to the silicon: our engine and the stock diffusers pipelines, side by side on one GPU.

    python scripts/bench_gpu.py [--commit abc1234] [--compile blocks] [--parts compare,cold,fp8,compiled] [--toy]

Full-size SDXL with random normal weights made on the device: they are as fast as real ones, and nothing is downloaded.
Stock, ours, ours, stock, each in a fresh process (A B B A), so that a drift of the machine hits both. All times run
from an encoded prompt to 8-bit pixels on the host. `floor_ms` is the work (scripts/gpu/shapes.py) over the bfloat16
matrix product's rate in this very run; `over_floor` is ours over that. Parts:

compare   batches of 1, 4 and 8, PhotoMaker's and InstantID's calls, 1024 and 768 pixels square
cold      from exec to the first picture, twice: without a cache of compiled code, then with the one that was left
graphs    ours without torch.compile, and without recordings, to tell what each brings
fp8       ours with 8-bit products, and how far its pictures are from bfloat16's (PSNR; a random net's, so a bound)
compiled  stock with torch.compile, batch 1

What does not fit into --budget seconds is left out and named. The result goes to loadtest/results, to be committed;
scripts/speed_table.py makes the table of speed of what lies there. One JSON object is the last line. --toy runs all of
it on the CPU, on tiny networks: it tests this script and measures nothing.
"""

import ctypes
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import click
import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from models.worker.openmp import openmp_environment

os.environ.update(openmp_environment(os.environ))  # as the front starts its workers; read when torch is loaded

from scripts.gpu.shapes import ADAPTERS, FULL, INSTANTID, PHOTOMAKER, TOY, Shapes

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "loadtest" / "results"
PARTS = ("compare", "cold", "graphs", "fp8", "compiled")
EXTRAS = ("cold", "psnr_db", "growth", "peak_memory_gb", "reserved_memory_gb", "attention")
MARGIN_SECONDS = 30.0  # a process that is not begun when less is left
Block = dict[str, Any]
Launch = Callable[[Block, float], Block]  # a BlockPlan as a dict, seconds it may take


def plans(parts: Sequence[str], shapes: Shapes, compile: str, cache: str) -> Iterator[tuple[str, Block]]:
    """Each block's name and plan, the most telling first."""
    large, *smaller = sorted(shapes.work, reverse=True)[:2]
    every = [(adapter, size, batch) for size in (large, *smaller) for adapter in ADAPTERS for batch in shapes.batches]
    single = [(PHOTOMAKER, large, 1), (INSTANTID, large, 1)]
    most = (PHOTOMAKER, large, max(shapes.batches))
    ours: Block = {"kind": "ours", "compile": compile, "cache": cache, "shapes": shapes.name}
    stock: Block = {"kind": "stock", "shapes": shapes.name}
    if "cold" in parts:
        yield "cold, no cache", ours | {"cases": single[:1], "case_seconds": 0.1}
        yield "cold, with cache", ours | {"cases": single[:1], "case_seconds": 0.1}
    if "compare" in parts:
        yield "stock", stock | {"cases": every}
        yield "ours", ours | {"cases": every}
        yield "ours", ours | {"cases": every, "growth_jobs": 1000 if shapes is FULL else 10}
        yield "stock", stock | {"cases": every}
    if "fp8" in parts:
        yield "ours, fp8", ours | {"cases": [*single, most], "fp8": True, "quality": True}
    if "graphs" in parts:
        yield "ours, graphs alone", ours | {"cases": [*single, most], "compile": "off"}
        yield "ours, eager", ours | {"cases": single, "compile": "off", "graphs": False}
    if "compiled" in parts:
        yield "stock, compiled", stock | {"kind": "stock-compiled", "cases": single[:1]}


def has_gpu() -> bool:
    """Asks the driver: torch would take seconds to be imported, only to say no."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def in_process(plan: Block, seconds: float) -> Block:
    from scripts.gpu.block import BlockPlan, run_block

    return run_block(msgspec.convert(plan, BlockPlan))


def as_toy(plan: Block, seconds: float) -> Block:
    """Here, and on one thread: nothing so small gains by a second, which on a busy machine is long waited for."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return in_process(plan | {"rounds": 1, "case_seconds": 0.0, "steps": 2}, seconds)
    finally:
        torch.set_num_threads(threads)


def in_fresh_process(plan: Block, seconds: float) -> Block:
    """Raises RuntimeError with the end of what it printed if it fails or takes longer."""
    plan = plan | {"began": time.time(), "until": time.time() + seconds - MARGIN_SECONDS / 2}
    command = [sys.executable, __file__, "--block", json.dumps(plan)]
    try:
        with tempfile.TemporaryDirectory() as scratch:  # of torch's own, which would outlive the process and help it
            environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": scratch}
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, cwd=ROOT, env=environment)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"not done after {seconds:.0f} s") from None
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {done.stderr[-1500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run(parts: Sequence[str], shapes: Shapes, launch: Launch, compile: str, budget: float) -> dict[str, Any]:
    """Every block that fits, and their comparison."""
    until, blocks, left_out = time.monotonic() + budget, list[Block](), list[str]()
    with tempfile.TemporaryDirectory() as cache:
        for name, plan in plans(parts, shapes, compile, cache):
            left = until - time.monotonic()
            if left < MARGIN_SECONDS:
                left_out.append(name)
                continue
            click.echo(f"{name}: {len(plan['cases'])} cases, {left:.0f} s left", err=True)
            try:
                blocks.append({"name": name, **launch(plan, left)})
            except RuntimeError as error:
                click.echo(f"{name}: {error}", err=True)
                left_out.append(f"{name}: {str(error).splitlines()[-1][:200]}")
    return {"blocks": blocks, "left_out": left_out, "summary": summary(blocks, shapes)}


def summary(blocks: Sequence[Block], shapes: Shapes, steps: int = 4) -> list[Block]:
    """One entry for each case, with every kind that ran it."""
    peak = median(block["peak_tflops"] for block in blocks) if blocks else 0.0
    cases = list(dict.fromkeys(_case(one) for block in blocks for one in block["cases"]))
    return [_compared(blocks, shapes, case, steps, peak) for case in cases]


def _compared(blocks: Sequence[Block], shapes: Shapes, case: tuple[str, int, int], steps: int, peak: float) -> Block:
    adapter, size, batch = case
    tflop = batch * shapes.work[size].of(adapter, steps)
    entry: Block = {"adapter": adapter, "size": size, "batch": batch, "tflop": round(tflop, 3)}
    entry["floor_ms"] = round(tflop / peak * 1000, 2)
    for name in dict.fromkeys(block["name"] for block in blocks):
        found = [
            c for b in blocks if b["name"] == name for c in b["cases"] if (c["adapter"], c["size"], c["batch"]) == case
        ]
        if not found or name.startswith("cold"):
            continue
        p50 = [c["total_ms"]["p50"] for c in found]
        entry[name] = {
            "p50_ms": round(median(p50), 2),
            "p99_ms": round(max(c["total_ms"]["p99"] for c in found), 2),
            "between_blocks": round(max(p50) / min(p50), 3),
            "over_floor": round(median(p50) / entry["floor_ms"], 2),
            "tflops": round(tflop / median(p50) * 1000, 1),
            "images_per_second": round(median(c["images_per_second"] for c in found), 2),
            "step_p50_ms": _median_of(found, "step_ms"),
            "decode_p50_ms": _median_of(found, "decode_ms"),
        }
    if "stock" in entry and "ours" in entry:
        entry["times_stock"] = round(entry["stock"]["p50_ms"] / entry["ours"]["p50_ms"], 2)
    return entry


def _case(one: Block) -> tuple[str, int, int]:
    return one["adapter"], one["size"], one["batch"]


def _median_of(cases: Sequence[Block], stage: str) -> float | None:
    values = [case[stage]["p50"] for case in cases if case[stage]]
    return round(median(values), 2) if values else None


def print_summary(result: dict[str, Any]) -> None:
    print(f"{result['device']}, {result['peak_tflops']} TFLOP/s in a matrix product, commit {result['commit']}")
    print(f"{'':34}{'p50 ms':>9}{'p99 ms':>9}{'x floor':>9}{'TFLOP/s':>9}{'img/s':>8}{'step':>9}{'decode':>9}")
    for entry in result["summary"]:
        print(f"{entry['adapter']} {entry['size']} x{entry['batch']}, floor {entry['floor_ms']} ms")
        for name, one in entry.items():
            if isinstance(one, dict):
                stages = "".join(f"{one[s] if one[s] is not None else '':>9}" for s in ("step_p50_ms", "decode_p50_ms"))
                print(
                    f"    {name:30}{one['p50_ms']:9}{one['p99_ms']:9}{one['over_floor']:9}{one['tflops']:9}"
                    f"{one['images_per_second']:8}{stages}"
                )
    for block in result["blocks"]:
        extra = {key: block[key] for key in EXTRAS if key in block}
        print(f"{block['name']}: {extra}")
    for name in result["left_out"]:
        print(f"left out: {name}")


@click.command(help=__doc__)
@click.option("--parts", default=",".join(PARTS), show_default=True)
@click.option(
    "--compile", "compile_", type=click.Choice(["off", "blocks", "full"]), default="blocks", show_default=True
)
@click.option("--budget", default=570.0, show_default=True, help="Seconds for everything.")
@click.option("--commit", help="Of this code, where there is no git to ask.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the result; loadtest/results unless --toy.")
@click.option("--toy", is_flag=True, help="Tiny networks on the CPU, all in this process.")
@click.option("--block", hidden=True, help="A plan as JSON: be one of the fresh processes.")
def main(
    parts: str, compile_: str, budget: float, commit: str | None, out: Path | None, toy: bool, block: str | None
) -> None:
    if block is not None:
        print(json.dumps(in_process(json.loads(block), budget)))
        return
    wanted = parts.split(",")
    if unknown := set(wanted) - set(PARTS):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", param_hint="--parts")
    if not toy and not has_gpu():
        raise click.ClickException(
            "this measures an NVIDIA GPU, and the driver finds none here; --toy tries it without"
        )
    shapes, launch = (TOY, as_toy) if toy else (FULL, in_fresh_process)
    result = run(wanted, shapes, launch, "off" if toy else compile_, budget)
    if not result["blocks"]:
        raise click.ClickException("nothing could be measured: " + "; ".join(result["left_out"]))
    first = result["blocks"][0]
    result |= {
        "device": first["device"],
        "peak_tflops": round(median(one["peak_tflops"] for one in result["blocks"]), 2),
        "versions": first["versions"],
        "commit": commit or _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        "shapes": shapes.name,
        "cores": os.cpu_count(),
    }
    folder = out or (None if toy else RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        stamp = result["date"].replace(" ", "-").replace(":", "")
        (folder / f"gpu-{stamp}.json").write_text(json.dumps(result, indent=1) + "\n")
    print_summary(result)
    print(json.dumps({key: value for key, value in result.items() if key != "blocks"}))


def _commit() -> str:
    try:
        told = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


if __name__ == "__main__":
    main()
