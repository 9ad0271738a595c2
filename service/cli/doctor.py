"""`proofsheet doctor`: what is installed, which weights are here, what is missing and how to get it.

What needs torch or onnxruntime to be known is asked of `python -m models.doctor`, a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from service.settings import Settings
from service.workers.process import worker_environment

COMMAND = (sys.executable, "-P", "-m", "models.doctor")
TIMEOUT_SECONDS = 120
SHOWN_FILES = 6


class DoctorError(Exception):
    """The examination itself failed. The text is for the operator."""


def examine(settings: Settings, *, command: Sequence[str] = COMMAND) -> dict[str, Any]:
    """What `models.doctor` found, given the files that these settings point to. Raises DoctorError."""
    paths = {"manifest": settings.manifest, "weights-dir": settings.weights_dir, "faces-dir": settings.faces_dir}
    given = paths | {"face-side": settings.face_side}
    arguments = [f"--{name}={value}" for name, value in given.items() if value is not None]
    try:
        result = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=worker_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DoctorError(f"models.doctor gave no answer within {TIMEOUT_SECONDS} s") from None
    lines = result.stdout.strip().splitlines()
    if result.returncode != 0 or not lines:
        last = (result.stderr.strip().splitlines() or ["no output"])[-1]
        raise DoctorError(f"models.doctor failed with status {result.returncode}: {last}")
    return json.loads(lines[-1])


def report(found: dict[str, Any]) -> Iterator[str]:
    """The findings as lines for a terminal."""
    yield f"Python  {found.get('python', '?')}"
    yield f"Device  {found.get('device', '?')}"
    yield "Packages"
    for name, version in sorted(found.get("packages", {}).items()):
        yield f"  {_mark(version)} {name} {version or 'is not installed'}"
    yield "Bundles (--bundle)"
    for bundle in found.get("bundles", []):
        yield from _bundle(bundle)
    yield "Face analyzers (--face-analyzer)"
    for face in found.get("faces", []):
        terms = f"{face['licence']}, commercial use: {face['commercial']}"
        sides = f"; looks at {face['sides'][0]} pixels first" if face.get("sides") else ""
        yield f"  {_mark(face['present'])} {face['name']} ({terms}){sides}"
        if face["problem"]:
            yield f"       {face['problem']}"


def _bundle(bundle: dict[str, Any]) -> Iterator[str]:
    yield f"  {_mark(bundle['present'])} {bundle['name']}: {bundle.get('title', '')}"
    if verdict := bundle.get("verdict"):
        yield f"       verdict: {verdict}"
    if bundle.get("gpu_bytes"):
        gpu, cpu = (f"{bundle[f'{device}_bytes'] / 1e9:.2g} GB" for device in ("gpu", "cpu"))
        yield f"       memory: weights take about {gpu} of a GPU's, or {cpu} of a CPU's, before pictures are computed"
    for adapter in bundle.get("adapters", []):
        own, shared = (f"{adapter[f'{whose}_bytes'] / 1e6:,.0f} MB" for whose in ("own", "shared"))
        yield f"       adapter {adapter['name']}: {own} of its own, {shared} shared"
    missing = bundle.get("missing", [])
    yield from (f"       missing: {name}" for name in missing[:SHOWN_FILES])
    if len(missing) > SHOWN_FILES:
        yield f"       missing: {len(missing) - SHOWN_FILES} more files"
    if bundle.get("how"):
        yield f"       get it: {bundle['how']}"
    if bundle.get("noncommercial"):
        names = ", ".join(bundle["noncommercial"])
        yield f"       not for commercial use: {names} (--accept-noncommercial to load)"


def _mark(present: object) -> str:
    return "ok" if present else "--"


def is_usable(found: dict[str, Any], bundle: str) -> bool:
    """Whether every file of that bundle is here."""
    return any(one["name"] == bundle and one["present"] for one in found.get("bundles", []))
