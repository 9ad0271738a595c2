"""The table of speed for scripts/README.md, made from what scripts/bench_gpu.py left in loadtest/results.

    python scripts/speed_table.py [--results loadtest/results]

Prints Markdown: one row for each case of the newest result of every device, and under it where and when that was. A
result without ours and stock in it, or one of toy networks, is no row.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

RESULTS = Path(__file__).resolve().parent.parent / "loadtest" / "results"
HEADS = (
    "4 steps, adapter", "pixels", "batch", "floor", "stock p50", "ours p50", "ours p99", "faster", "over the floor",
    "TFLOP/s", "images/s",
)  # fmt: skip


def newest(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each device, the latest of those that compare; in order of the device's name."""
    latest: dict[str, dict[str, Any]] = {}
    for result in sorted(results, key=lambda result: result["date"]):
        if result["shapes"] == "full" and list(_rows(result)):
            latest[result["device"]] = result
    return [latest[device] for device in sorted(latest)]


def table(result: dict[str, Any]) -> str:
    versions = result["versions"]
    software = f"torch {versions['torch']}, diffusers {versions['diffusers']}"
    where = f"{result['device']}, {result['date']} UTC, commit {result['commit']}, {software}."
    peak = f"Floor: the work over {result['peak_tflops']} TFLOP/s, a bfloat16 matrix product's in that run."
    lines = [
        "| " + " | ".join(HEADS) + " |",
        "|---|" + "--:|" * (len(HEADS) - 1),
        *("| " + " | ".join(row) + " |" for row in _rows(result)),
        "",
        f"{where} {peak}",
    ]
    return "\n".join(lines)


def _rows(result: dict[str, Any]) -> Iterator[list[str]]:
    for entry in result["summary"]:
        if "ours" not in entry or "stock" not in entry:
            continue
        ours, stock = entry["ours"], entry["stock"]
        yield [
            entry["adapter"],
            f"{entry['size']}²",
            str(entry["batch"]),
            f"{entry['floor_ms']:.1f} ms",
            f"{stock['p50_ms']:.1f} ms",
            f"{ours['p50_ms']:.1f} ms",
            f"{ours['p99_ms']:.1f} ms",
            f"{entry['times_stock']:.2f}×",
            f"{ours['over_floor']:.2f}",
            f"{ours['tflops']:.0f}",
            f"{ours['images_per_second']:.1f}",
        ]


@click.command(help=__doc__)
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True)
def main(results: Path) -> None:
    found = newest([json.loads(path.read_text()) for path in sorted(results.glob("gpu-*.json"))])
    if not found:
        raise click.ClickException(f"there is no comparison in {results}; make one with scripts/bench_gpu.py")
    print("\n\n".join(table(result) for result in found))


if __name__ == "__main__":
    main()
