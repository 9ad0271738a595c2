"""The table of speed from a result as bench_gpu writes it."""

import json

import click
import pytest

from scripts.speed_table import main, newest, table


def side(p50, **more):
    return {
        "p50_ms": p50, "p99_ms": p50 + 1, "over_floor": 2.0, "tflops": 395.4, "images_per_second": 10.04, **more
    }  # fmt: skip


def result(device="NVIDIA H200", date="2026-11-21 10:00", shapes="full", **kinds):
    entry = {"adapter": "photomaker", "size": 1024, "batch": 1, "tflop": 37.5, "floor_ms": 47.9, "times_stock": 2.5}
    return {
        "device": device, "date": date, "shapes": shapes, "commit": "abc1234", "peak_tflops": 780.0,
        "versions": {"torch": "2.13.0", "diffusers": "0.42.1"},
        "summary": [entry | (kinds or {"stock": side(239.5), "ours": side(95.8)})],
    }  # fmt: skip


def test_a_case_is_a_row_and_the_machine_is_told():
    lines = table(result()).splitlines()
    expected = "| photomaker | 1024² | 1 | 47.9 ms | 239.5 ms | 95.8 ms | 96.8 ms | 2.50× | 2.00 | 395 | 10.0 |"
    assert lines[2] == expected
    assert "NVIDIA H200, 2026-11-21 10:00 UTC, commit abc1234, torch 2.13.0" in lines[-1]


def test_the_newest_comparison_of_each_device_counts():
    old, new = result(date="2026-11-20 10:00"), result(date="2026-11-22 10:00")
    alone = result(date="2026-11-23 10:00", ours=side(90.0))
    toy = result(device="cpu", shapes="toy")
    h100 = result(device="NVIDIA H100")
    assert newest([new, old, alone, toy, h100]) == [h100, new]


def test_a_folder_without_a_comparison_is_said_to_be_one(tmp_path):
    (tmp_path / "gpu-1.json").write_text(json.dumps(result(shapes="toy")))
    with pytest.raises(click.ClickException, match="no comparison"):
        main.callback(tmp_path)
