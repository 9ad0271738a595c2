"""The comparison's whole logic on tiny networks; what it prints of them means nothing."""

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from scripts import bench_gpu
from scripts.gpu.probe import SMI_FIELDS, state
from scripts.gpu.shapes import FULL, INSTANTID, PHOTOMAKER, TOY


def block(peak, *cases):
    return {"peak_tflops": peak, "cases": [case(*one) for one in cases]}


def case(adapter, size, batch, p50):
    spread = {"p50": p50, "p99": p50 + 5}
    return {
        "adapter": adapter, "size": size, "batch": batch, "total_ms": spread, "step_ms": spread, "decode_ms": None,
        "images_per_second": 1000 / p50,
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [[], ["--parts", "compare"], ["--budget", "10"]])
def test_without_a_gpu_it_stops_at_once_with_a_sentence(monkeypatch, arguments):
    monkeypatch.setattr(bench_gpu.ctypes, "CDLL", refuse)
    monkeypatch.setattr(bench_gpu, "run", None)  # nothing is started
    told = CliRunner().invoke(bench_gpu.main, arguments)
    assert told.exit_code == 1
    assert told.output == "Error: this measures an NVIDIA GPU, and the driver finds none here; --toy tries it without\n"


def refuse(name):
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own
def test_every_part_runs_and_ends_in_one_json_line_and_a_file(tmp_path):
    told = CliRunner().invoke(
        bench_gpu.main, ["--toy", "--budget", "500", "--commit", "abc1234", "--out", str(tmp_path)]
    )
    assert told.exit_code == 0, told.output
    last = json.loads(told.stdout.splitlines()[-1])
    [path] = tmp_path.glob("gpu-*.json")
    kept = json.loads(path.read_text())
    assert last["left_out"] == []
    assert (last["commit"], last["shapes"], last["device"]) == ("abc1234", "toy", "cpu")
    assert [one["name"] for one in kept["blocks"]][2:6] == ["stock", "ours", "ours", "stock"]
    compared = [entry for entry in last["summary"] if "times_stock" in entry]
    assert [(entry["adapter"], entry["batch"]) for entry in compared] == [
        (adapter, batch) for adapter in (PHOTOMAKER, INSTANTID) for batch in TOY.batches
    ]
    assert all(entry["ours"]["step_p50_ms"] > 0 for entry in compared)
    assert {"ours, fp8", "ours, eager", "stock, compiled"} <= set(compared[0])
    [fp8] = [one for one in kept["blocks"] if one["name"] == "ours, fp8"]
    assert fp8["psnr_db"] > 40


def test_a_comparison_holds_medians_against_the_work_and_the_peak_of_the_same_run():
    blocks = [
        {"name": name, **block(peak, (PHOTOMAKER, 1024, 1, p50))}
        for name, peak, p50 in (("stock", 700, 200), ("ours", 800, 90), ("ours", 800, 100), ("stock", 700, 220))
    ]
    [entry] = bench_gpu.summary(blocks, FULL)
    assert entry["tflop"] == pytest.approx(4 * 6.761 + 10.470)
    assert entry["floor_ms"] == pytest.approx(1000 * entry["tflop"] / 750, abs=0.01)
    assert entry["ours"]["p50_ms"] == 95
    assert entry["ours"]["p99_ms"] == 105
    assert entry["ours"]["between_blocks"] == pytest.approx(1.111)
    assert entry["ours"]["over_floor"] == pytest.approx(95 / entry["floor_ms"], abs=0.01)
    assert entry["times_stock"] == pytest.approx(210 / 95, abs=0.01)


def test_instantid_s_work_has_its_control_net_in_every_step():
    assert FULL.work[1024].of(INSTANTID, 4) - FULL.work[1024].of(PHOTOMAKER, 4) == pytest.approx(4 * 2.988)


def test_what_does_not_fit_is_named_and_what_fails_does_not_end_the_run(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def launch(plan, seconds):
        now[0] += 100
        if plan["kind"] == "stock":
            raise RuntimeError("exit 1: out of memory")
        return block(800, (PHOTOMAKER, 1024, 1, 90))

    result = bench_gpu.run(["compare", "compiled"], FULL, launch, "blocks", budget=390)
    assert [one["name"] for one in result["blocks"]] == ["ours", "ours"]
    assert result["left_out"] == ["stock: exit 1: out of memory", "stock: exit 1: out of memory", "stock, compiled"]


def test_a_process_that_fails_is_quoted():
    plan = {"kind": "nonsense", "cases": [], "shapes": "toy"}
    with pytest.raises(RuntimeError, match=r"(?s)exit 1: .*nonsense"):
        bench_gpu.in_fresh_process(plan, 100)


def test_no_process_profits_by_what_another_compiled(monkeypatch):
    folders = []

    def pretend(command, *, env, **_):
        folders.append(env["TORCHINDUCTOR_CACHE_DIR"])
        return subprocess.CompletedProcess(command, 0, stdout="{}\n", stderr="")

    monkeypatch.setattr(subprocess, "run", pretend)
    for _ in range(2):
        bench_gpu.in_fresh_process({"cases": []}, 100)
    assert len(set(folders)) == 2
    assert not any(Path(folder).exists() for folder in folders)


def test_a_field_that_the_driver_does_not_know_costs_that_field_alone(monkeypatch):
    def smi(command, **_):
        if SMI_FIELDS[-1] in command[-1]:
            raise subprocess.CalledProcessError(2, command)
        return subprocess.CompletedProcess(command, 0, stdout="H100, 570, 1980, 1980, 600, 700, 60\n", stderr="")

    monkeypatch.setattr(subprocess, "run", smi)
    found = state(torch.device("cuda:0"))
    assert found["name"] == "H100"
    assert list(found) == list(SMI_FIELDS[:-1])
