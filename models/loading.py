"""From a Setup to everything that a worker serves with, checked against each other before the first job."""

from dataclasses import dataclass
from pathlib import Path

import torch

from models.devices import buckets_for, choose_device
from models.faces.analyzers import NAMES, load_analyzer, terms
from models.faces.face import FaceAnalyzer
from models.messages import Setup
from models.weights.bundle import Bundle, load_bundle
from models.weights.manifest import DEFAULT_MANIFEST, PACKAGE, read_manifest
from models.weights.modules import WeightsError


@dataclass(frozen=True, slots=True)
class Parts:
    bundle: Bundle
    analyzer: FaceAnalyzer
    buckets: tuple[int, ...]  # batch sizes, ascending


def load_parts(setup: Setup) -> Parts:
    """Raises WeightsError or FacesUnavailable with a message for the operator."""
    device = choose_device(setup.device)
    if setup.threads:
        torch.set_num_threads(setup.threads)
    _refuse_noncommercial_faces(setup)
    bundle = load_bundle(
        read_manifest(Path(setup.manifest) if setup.manifest else DEFAULT_MANIFEST),
        setup.bundle,
        weights_dir=Path(setup.weights_dir) if setup.weights_dir else None,
        device=device,
        accept_noncommercial=setup.accept_noncommercial,
    )
    analyzer = load_analyzer(
        setup.face_analyzer,
        bundled_dir=PACKAGE / "tiny",
        faces_dir=Path(setup.faces_dir) if setup.faces_dir else None,
        device=str(device),
        threads=setup.threads or torch.get_num_threads(),
    )
    _check_spaces(bundle, analyzer.space)
    return Parts(bundle, analyzer, buckets_for(device, setup.max_rows))


def _refuse_noncommercial_faces(setup: Setup) -> None:
    """A face analyzer's weights have terms too, and they are not in the bundle's manifest."""
    known = terms(setup.face_analyzer) if setup.face_analyzer in NAMES else None
    if known is not None and known.commercial == "no" and not setup.accept_noncommercial:
        raise WeightsError(
            f"face analyzer {setup.face_analyzer!r} may not be used commercially ({known.licence}). "
            "Start with --accept-noncommercial if your use is not commercial."
        )


def _check_spaces(bundle: Bundle, space: str | None) -> None:
    """An adapter's face embeddings must come from the recogniser that it was trained on."""
    for name, stack in bundle.stacks.items():
        if stack.adapter.face_space not in (None, space):
            raise WeightsError(
                f"adapter {name} needs face embeddings of {stack.adapter.face_space!r}, the face analyzer makes "
                f"{space!r}: choose another with --face-analyzer"
            )
