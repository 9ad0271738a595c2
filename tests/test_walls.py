"""Imports run one way: models never knows the service or its framework, messages know neither torch nor numpy."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import get_args

import pytest

from models.adapters.registry import RegisteredSpec

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


@pytest.mark.parametrize("module", ["models.worker.worker", "models.doctor"])
def test_models_load_neither_the_service_nor_its_framework(module):
    assert loaded_by(module).isdisjoint({"litestar", "service", "uvicorn", "prometheus_client"})


def test_messages_load_nothing_that_computes():
    assert loaded_by("models.wire.frames").isdisjoint(HEAVY)


def test_a_manifest_is_read_by_nothing_that_computes():
    assert loaded_by("models.weights.manifest").isdisjoint(HEAVY)


def test_the_scheduler_is_policy_alone():
    assert loaded_by("models.engine.scheduler").isdisjoint(HEAVY)


# Each package of `models`, and those above it, which it must not know.
ABOVE = {
    "wire": ("engine", "sdxl", "faces", "finish", "weights", "adapters", "bundle", "worker"),
    "engine": ("sdxl", "faces", "finish", "weights", "adapters", "bundle", "worker"),
    "sdxl": ("faces", "finish", "weights", "adapters", "bundle", "worker"),
    "faces": ("engine", "sdxl", "weights", "adapters", "bundle", "worker"),
    "finish": ("engine", "sdxl", "weights", "adapters", "bundle", "worker"),
    "weights": ("sdxl", "faces", "finish", "bundle", "worker"),
    "adapters": ("weights", "bundle", "worker"),
    "bundle": ("worker",),
}


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_of_models_imports_up(path):
    names = list(imports_of(path))
    assert not [name for name in names if name.split(".")[0] in {"service", "litestar", "scripts", "tests"}]
    barred = {f"models.{above}" for above in ABOVE.get(path.relative_to(ROOT / "models").parts[0], ())}
    assert not [name for name in names if ".".join(name.split(".")[:2]) in barred]


@pytest.mark.parametrize("path", sorted((ROOT / "service").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_of_the_front_imports_what_computes(path):
    inside_the_sandbox = {"decoders/decoder.py", "decoders/outline.py", "decoders/pixels.py"}
    barred = () if str(path.relative_to(ROOT / "service")) in inside_the_sandbox else HEAVY
    assert not [name for name in imports_of(path) if name.split(".")[0] in barred]


ADAPTERS = ROOT / "models" / "adapters"
FOLDERS = {path.parent.name for path in ADAPTERS.glob("*/__init__.py")}
NAMES = FOLDERS | {kind.__struct_config__.tag for kind in get_args(RegisteredSpec)}
AROUND = ("weights", "bundle", "worker", "engine", "wire")


def adapters_imported_by(path):
    """Folders of adapters, of which the file knows something."""
    names = [name.split(".") for name in imports_of(path)]
    return {name[2] for name in names if name[:2] == ["models", "adapters"] and len(name) > 2} & FOLDERS


@pytest.mark.parametrize("path", sorted(ADAPTERS.rglob("*.py")), ids=lambda path: str(path.relative_to(ADAPTERS)))
def test_an_adapter_is_known_to_its_own_folder_and_the_registry(path):
    known = FOLDERS if path.name == "registry.py" else {path.parent.name}
    assert adapters_imported_by(path) <= known


@pytest.mark.parametrize(
    "path",
    sorted(path for around in AROUND for path in (ROOT / "models" / around).rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_adapter_is_named_where_all_are_treated_alike(path):
    text = path.read_text().lower()
    assert not [name for name in NAMES if name in text]


@pytest.mark.parametrize(("room", "known"), [("models/weights", {"models.adapters.registry"}), ("service", set())])
def test_who_loads_nothing_knows_of_adapters_what_the_registry_lists_or_less(room, known):
    names = {name for path in (ROOT / room).rglob("*.py") for name in imports_of(path)}
    assert {name for name in names if name.startswith("models.adapters")} <= known


TRAINING = ROOT / "scripts" / "train_tiny"
# Each package of the training, and those above it, which it must not know.
TRAINING_ABOVE = {"drawing": {"lessons", "judging"}, "lessons": {"judging"}, "judging": set()}


@pytest.mark.parametrize(
    ("room", "path"),
    [(room, path) for room in TRAINING_ABOVE for path in sorted((TRAINING / room).glob("*.py"))],
    ids=lambda part: part if isinstance(part, str) else part.stem,
)
def test_training_learns_from_drawings_and_judging_from_both(room, path):
    names = [name.split(".") for name in imports_of(path)]
    rooms = {name[2] for name in names if name[:2] == ["scripts", "train_tiny"] and len(name) > 2}
    assert rooms <= set(TRAINING_ABOVE) - TRAINING_ABOVE[room]
    assert room != "drawing" or "torch" not in {name[0] for name in names}


def strings_of(path):
    return [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


@pytest.mark.parametrize(
    "path",
    sorted(path for folder in ("scripts", "loadtest") for path in (ROOT / folder).rglob("*.py")),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_script_imports_or_runs_a_test(path):
    assert not [name for name in imports_of(path) if name.split(".")[0] == "tests"]
    assert not [text for text in strings_of(path) if re.search(r"\btests\.\w|\btests/\S*\.py\b", text)]


def test_a_class_name_means_one_thing_in_the_whole_repository():
    sources = [
        path for top in ("service", "models", "scripts", "loadtest") for path in sorted((ROOT / top).rglob("*.py"))
    ]
    homes = defaultdict(list)
    for path in sources:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(ROOT)))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}
