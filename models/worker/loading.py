"""From a Setup to everything that a worker serves with, checked against each other before the first job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import torch

from models.bundle.bundle import Bundle, load_bundle
from models.faces.analyzer import Analyzers
from models.faces.analyzers import NAMES, licence_of, load_analyzer
from models.faces.face import FaceAnalyzer
from models.finish.jpeg import ON_CPU, JpegEncoder
from models.finish.jpeg_choice import choose_jpeg_encoder
from models.sdxl.compiling import check_compiler
from models.sdxl.speed import EAGER, Speed
from models.weights.errors import WeightsError
from models.weights.manifest import DEFAULT_MANIFEST, PACKAGE, faces_folder, read_manifest
from models.wire.setup import Setup
from models.worker.compile_cache import CompileCache, key_of
from models.worker.devices import buckets_for, choose_device


@dataclass(frozen=True, slots=True)
class WorkerParts:
    bundle: Bundle
    analyzer: FaceAnalyzer
    buckets: tuple[int, ...]  # batch sizes, ascending
    speed: Speed = EAGER
    cache: CompileCache | None = None  # of what is compiled, if anything is and there is a folder for it
    jpeg: JpegEncoder = ON_CPU
    fetchable: Mapping[str, str] = field(default_factory=dict[str, str])  # see Ready


def load_parts(setup: Setup) -> WorkerParts:
    """Raises WeightsError, FacesUnavailable or CompilerMissing with a message for the operator."""
    device = choose_device(setup.device)
    if setup.compile != "off":
        check_compiler(device)
    cv2.setNumThreads(1)  # others would spin after every call, for as long as a JPEG takes: see DECISIONS.md
    if setup.threads:
        torch.set_num_threads(setup.threads)
    manifest = read_manifest(Path(setup.manifest) if setup.manifest else DEFAULT_MANIFEST)
    weights_dir = Path(setup.weights_dir) if setup.weights_dir else None
    names = setup.face_analyzer.split(",") if setup.face_analyzer else manifest.bundle(setup.bundle).face_analyzers
    for name in names:
        _refuse_noncommercial_faces(name, setup.accept_noncommercial)
    speed = Speed(graphs=setup.graphs, compile=setup.compile, fp8=setup.fp8)
    bundle = load_bundle(
        manifest,
        setup.bundle,
        weights_dir=weights_dir,
        device=device,
        accept_noncommercial=setup.accept_noncommercial,
        faces=setup.face_analyzer is None and setup.faces_dir is None,
        speed=speed,
    )
    analyzers = [
        load_analyzer(
            name,
            bundled_dir=PACKAGE / "tiny",
            faces_dir=faces_folder(setup.faces_dir, weights_dir),
            device=str(device),
            threads=setup.threads or torch.get_num_threads(),
            first_side=setup.face_side,
        )
        for name in names
    ]
    analyzer = analyzers[0] if len(analyzers) == 1 else Analyzers(analyzers)
    _check_spaces(bundle, analyzer)
    jpeg = ON_CPU if speed == EAGER else choose_jpeg_encoder(device)
    buckets = buckets_for(device, setup.max_rows)
    cache = _compile_cache(setup, speed, device)
    return WorkerParts(bundle, analyzer, buckets, speed, cache, jpeg, manifest.fetchable)


def _compile_cache(setup: Setup, speed: Speed, device: torch.device) -> CompileCache | None:
    """Loaded, if there is one: nothing has been compiled yet."""
    if speed.compile == "off" or setup.compile_cache is None:
        return None
    cache = CompileCache(Path(setup.compile_cache), key_of(speed, device))
    cache.load()
    return cache


def _refuse_noncommercial_faces(name: str, accept: bool) -> None:
    """A face analyzer that the operator chose has terms too, and need not be in the bundle's manifest."""
    known = licence_of(name) if name in NAMES else None
    if known is not None and known.commercial == "no" and not accept:
        raise WeightsError(
            f"face analyzer {name!r} may not be used commercially ({known.licence}). "
            "Start with --accept-noncommercial if your use is not commercial."
        )


def _check_spaces(bundle: Bundle, analyzer: FaceAnalyzer) -> None:
    """An adapter's face embeddings must come from the recogniser that it was trained on."""
    for name, stack in bundle.stacks.items():
        try:
            analyzer.for_space(stack.adapter.face_space)
        except LookupError:
            raise WeightsError(
                f"adapter {name} needs face embeddings of {stack.adapter.face_space!r}, and {analyzer.name} makes "
                f"those of {analyzer.space!r}: choose another with --face-analyzer, or several with commas"
            ) from None
