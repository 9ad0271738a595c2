"""What this device can do at most, and the state it is in: every time is held against these."""

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from models.bundle.modules import Place

SIDE, TOY_SIDE = 8192, 256
COPY_BYTES, TOY_COPY_BYTES = 2 << 30, 1 << 20
ROUNDS = 10
SMI_FIELDS = (
    "name", "driver_version", "clocks.sm", "clocks.max.sm", "power.draw", "power.limit", "temperature.gpu",
    "clocks_throttle_reasons.active",
)  # fmt: skip
PACKAGES = ("torch", "triton", "diffusers", "xformers", "onnxruntime-gpu")


def peak_tflops(place: Place) -> float:
    """Of a large square matrix product of random numbers in the dtype of the networks."""
    side = SIDE if place.device.type == "cuda" else TOY_SIDE
    a, b = (torch.randn(side, side, device=place.device, dtype=place.dtype) for _ in range(2))
    return 2 * side**3 / _seconds(lambda: a @ b, place.device) / 1e12


def copy_gbps(place: Place) -> float:
    """Bytes read and written a second by a copy within the device's memory, in GB/s."""
    size = COPY_BYTES if place.device.type == "cuda" else TOY_COPY_BYTES
    source = torch.empty(size, device=place.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * size / _seconds(lambda: target.copy_(source), place.device) / 1e9


def state(device: torch.device) -> dict[str, str]:
    """Clocks, power and temperature at this moment, as nvidia-smi tells them; {} where there is none."""
    if device.type != "cuda":
        return {}
    command = ["nvidia-smi", f"--id={device.index or 0}", "--format=csv,noheader,nounits"]
    for fields in (SMI_FIELDS, SMI_FIELDS[:-1]):  # newer drivers call the last one otherwise, and refuse all for one
        try:
            told = subprocess.run(
                [*command, f"--query-gpu={','.join(fields)}"], capture_output=True, text=True, timeout=10, check=True
            )
        except (OSError, subprocess.SubprocessError):
            continue
        return dict(zip(fields, (value.strip() for value in told.stdout.split(",")), strict=False))
    return {}


@dataclass(slots=True)
class Memory:
    """Device memory at its fullest, in GB, of the networks alone: what the probes take does not count."""

    allocated: float = 0.0

    def look(self, device: torch.device) -> None:
        """Before a probe, and at the end."""
        if device.type == "cuda":
            self.allocated = max(self.allocated, torch.cuda.max_memory_allocated(device) / 1e9)

    def look_away(self, device: torch.device) -> None:
        """After a probe."""
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda)}
    if torch.backends.cudnn.is_available():
        found["cudnn"] = str(torch.backends.cudnn.version())
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Median of single calls, after some to warm up."""
    taken = []
    for round_ in range(2 * ROUNDS):
        settle(device)
        began = time.perf_counter()
        call()
        settle(device)
        if round_ >= ROUNDS:
            taken.append(time.perf_counter() - began)
    return median(taken)
