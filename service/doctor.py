"""`proofsheet doctor`: what is installed, which weights are here, what is missing and how to get it.

What needs torch or onnxruntime to be known is asked of `python -m models.doctor`, a process of its own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

from service.workers.process import worker_environment

COMMAND = (sys.executable, "-m", "models.doctor")
TIMEOUT_SECONDS = 120


class DoctorError(Exception):
    """The examination itself failed. The text is for the operator."""


def examine(arguments: tuple[str, ...] = ()) -> dict[str, Any]:
    """What `models.doctor` found. Raises DoctorError."""
    try:
        result = subprocess.run(
            [*COMMAND, *arguments],
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
    yield f"Python    {found.get('python', '?')}"
    yield f"Device    {_short(found.get('device', '?'))}"
    yield "Packages"
    for name, version in sorted(found.get("packages", {}).items()):
        yield f"  {'ok ' if version else '-- '} {name} {version or 'not installed'}"
    yield "Bundles"
    for bundle in found.get("bundles", []):
        yield f"  {'ok ' if bundle['present'] else '-- '} {bundle['name']}"
        if not bundle["present"]:
            yield from (f"       missing: {name}" for name in bundle.get("missing", []))
            yield f"       get it: {bundle.get('how', '')}"
    yield f"Faces     {_short(found.get('faces', '?'))}"


def is_usable(found: dict[str, Any], bundle: str) -> bool:
    return any(one["name"] == bundle and one["present"] for one in found.get("bundles", []))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_short(part)}" for key, part in cast(dict[str, Any], value).items())
    if isinstance(value, list):
        return ", ".join(_short(part) for part in cast(list[Any], value))
    return str(value)
