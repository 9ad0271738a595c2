"""What this installation can do, as one JSON object: `python -m models.doctor`.

A process of its own, because the front imports neither torch nor onnxruntime and `proofsheet doctor` is the front's.
"""

import importlib.metadata
import json
import os
import pickle
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from models.weights.errors import WeightsError
from models.weights.footprint import expected_footprints
from models.weights.listing import about_bytes
from models.weights.manifest import (
    DEFAULT_MANIFEST,
    PACKAGE,
    BundleSpec,
    Manifest,
    WeightFile,
    faces_folder,
    missing_files,
    read_manifest,
    root_of,
)

INSTALL = "pip install -c constraints.txt -e '.[cpu]', or '.[gpu]'"
EVERY_ANALYZER = "all of them"
PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "onnxruntime",
    "onnxruntime-gpu",
    "insightface",
    "xformers",
    "pillow",
    "pillow-heif",
)


@click.command(help=__doc__)
@click.option("--manifest", type=click.Path(path_type=Path), default=DEFAULT_MANIFEST)
@click.option("--weights-dir", type=click.Path(path_type=Path))
@click.option("--faces-dir", type=click.Path(path_type=Path))
@click.option("--face-side", type=int)
def main(manifest: Path, weights_dir: Path | None, faces_dir: Path | None, face_side: int | None) -> None:
    faces = _faces(faces_folder(faces_dir, weights_dir), face_side)
    problems = {one["name"]: one["problem"] for one in faces}
    found = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _devices(),
        "bundles": _bundles(manifest, weights_dir, problems),
        "faces": faces,
    }
    print(json.dumps(found))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _devices() -> str:
    try:
        import torch
    except ImportError:
        return f"unknown: torch is not installed ({INSTALL})"
    if not torch.cuda.is_available():
        return f"cpu ({os.cpu_count()} cores; torch sees no CUDA device)"
    names = (torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count()))
    return ", ".join(f"cuda:{i} ({p.name}, {p.total_memory / 2**30:.0f} GiB)" for i, p in enumerate(names))


def _bundles(path: Path, weights_dir: Path | None, problems: Mapping[str, str]) -> list[dict[str, Any]]:
    """A manifest that can't be read is itself a finding."""
    try:
        manifest = read_manifest(path)
    except WeightsError as error:
        return [_finding("(manifest)", "", [str(path)], str(error), [])]
    return [_judged(_bundle(manifest, name, weights_dir), manifest.bundle(name), problems) for name in manifest.bundles]


def _judged(bundle: dict[str, Any], spec: BundleSpec, problems: Mapping[str, str]) -> dict[str, Any]:
    """With a verdict: "ready", or all that stands between the bundle and a start."""
    reasons = [f"{len(bundle['missing'])} files are missing"] if bundle["missing"] else []
    if not reasons:
        known = {name: problems.get(name, problems.get(EVERY_ANALYZER, "")) for name in spec.face_analyzers}
        reasons = [f"its face analyzer {name} can't be used: {problem}" for name, problem in known.items() if problem]
    if bundle["noncommercial"]:
        reasons.append("it may not be used commercially: start with --accept-noncommercial if your use is not")
    return bundle | {"verdict": "; ".join(reasons) or "ready"}


def _bundle(manifest: Manifest, name: str, weights_dir: Path | None) -> dict[str, Any]:
    spec = manifest.bundle(name)
    files = manifest.files_of(spec)
    barred = [file.path for file in files if file.commercial == "no"]
    if weights_dir is None and not spec.embedded:
        how = f"proofsheet fetch {name} --weights-dir FOLDER, and serve with the same --weights-dir"
        return _finding(name, spec.title, _named(files), how, barred) | _memory(files)
    root = root_of(spec, weights_dir)
    missing = missing_files(files, root)
    how = f"proofsheet fetch {name} --weights-dir {root}" if missing else ""
    adapters = [] if missing else _adapters(spec, root)
    return _finding(name, spec.title, _named(missing), how, barred, adapters) | _memory(files)


def _memory(files: Iterable[WeightFile]) -> dict[str, Any]:
    """About what the weights will keep on the device, told by the files' sizes, so that it is known before fetching.

    Published weights are in half precision, and so are they on a GPU; a CPU keeps them in single precision. Ours are
    in half precision, too. Adapters with a LoRA of their own bring a second copy of the UNet, which is not in it.
    """
    stored = sum(about_bytes(file) for file in files if file.format in ("safetensors", "pickle"))
    return {"gpu_bytes": stored, "cpu_bytes": 2 * stored}


def _adapters(spec: BundleSpec, root: Path) -> list[dict[str, Any]]:
    """The memory that each adapter will take; nothing for files whose contents can't be told."""
    import torch

    try:
        sizes = expected_footprints(spec, root, 2 if torch.cuda.is_available() else 4)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError):
        return []
    return [
        {"name": name, "own_bytes": size.own_bytes, "shared_bytes": size.shared_bytes} for name, size in sizes.items()
    ]


def _named(files: list[WeightFile]) -> list[str]:
    return [f"{file.path} (from {file.origin})" for file in files]


def _finding(
    name: str,
    title: str,
    missing: list[str],
    how: str,
    barred: list[str],
    adapters: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "present": not missing,
        "missing": missing,
        "how": how,
        "noncommercial": barred,
        "adapters": list(adapters),
        "verdict": how,
    }


def _faces(faces_dir: Path | None, side: int | None) -> list[dict[str, Any]]:
    """Every analyzer; a package that none can be loaded without is one finding about all of them."""
    try:
        from models.faces.analyzers import NAMES
    except ImportError as error:
        problem = f"the package {error.name} is not installed ({INSTALL})"
        unknown = {"sides": (), "licence": "not known", "commercial": "not known"}
        return [{"name": EVERY_ANALYZER, "present": False, "problem": problem, **unknown}]
    return [_face_analyzer(name, faces_dir, side) for name in NAMES]


def _face_analyzer(name: str, faces_dir: Path | None, side: int | None) -> dict[str, Any]:
    """Loading is the test: it checks presence, hashes and that onnxruntime reads the file."""
    from models.faces.analyzers import licence_of, load_analyzer
    from models.faces.files import FacesUnavailable

    known = licence_of(name)
    try:
        loaded = load_analyzer(
            name, bundled_dir=PACKAGE / "tiny", faces_dir=faces_dir, device="cpu", threads=1, first_side=side
        )
        problem, sides = "", loaded.sides
    except FacesUnavailable as error:
        problem, sides = str(error), ()
    return {
        "name": name,
        "present": not problem,
        "problem": problem,
        "sides": sides,
        "licence": known.licence,
        "commercial": known.commercial,
    }


if __name__ == "__main__":
    main()
