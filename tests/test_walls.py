"""Imports run one way: models never knows the service or its framework, messages know neither torch nor numpy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "numpy", "diffusers", "transformers", "onnxruntime", "PIL", "cv2", "skimage")


def loaded_by(module):
    code = f"import sys, {module}; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("module", ["models.worker", "models.doctor"])
def test_models_load_neither_the_service_nor_its_framework(module):
    assert loaded_by(module).isdisjoint({"litestar", "service", "uvicorn", "prometheus_client"})


def test_messages_load_nothing_that_computes():
    assert loaded_by("models.messages").isdisjoint(HEAVY)


def test_the_scheduler_is_policy_alone():
    assert loaded_by("models.engine.scheduler").isdisjoint(HEAVY)


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_of_models_imports_up(path):
    names = list(imports_of(path))
    assert not [name for name in names if name.split(".")[0] in {"service", "litestar", "scripts", "tests"}]
    layer = path.relative_to(ROOT / "models").parts[0]
    above = {"faces": ("engine", "weights", "worker"), "sdxl": ("engine", "adapters", "weights", "worker", "faces")}
    above |= {"engine": ("adapters", "weights", "worker", "faces"), "adapters": ("weights", "worker")}
    barred = tuple(f"models.{part}" for part in above.get(layer, ()))
    assert not [name for name in names if name.startswith(barred)]


@pytest.mark.parametrize("path", sorted((ROOT / "service").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_of_the_front_imports_what_computes(path):
    inside_the_sandbox = {"decoder.py", "pixels.py"}
    barred = () if path.name in inside_the_sandbox else HEAVY
    assert not [name for name in imports_of(path) if name.split(".")[0] in barred]
