"""The service's own path from selfies to portraits, in this process: its loading, preparation and engine, no HTTP.

A worker does the same on three threads; here one thread does it in order, so that a measurement is repeatable.
"""

import dataclasses
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch import nn

from models.adapters.adapter import Identity
from models.bundle.bundle import load_bundle
from models.engine.engine import Engine, Policy
from models.engine.rows import Row
from models.faces.analyzers import load_analyzer
from models.faces.bundled import SPACE
from models.faces.face import Face, FaceAnalyzer, Rgb
from models.faces.judge import PhotoLimits, judge
from models.faces.network import Network
from models.faces.recogniser import Recogniser
from models.finish.presenting import present
from models.weights.manifest import PACKAGE, FinalSpec, Manifest, WeightFile, read_manifest
from models.wire.groups import Sampling
from models.wire.order import Final, Order, Photos, Words
from models.wire.picture import Picture
from models.wire.setup import Setup
from models.worker.devices import buckets_for
from models.worker.job import WorkerJob
from models.worker.loading import WorkerParts, load_parts
from models.worker.preparation import Prepared, Preparer

BUNDLE = "tiny"
PLENTY_SECONDS = 3600.0
MAX_ROWS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioOrder:
    """What one caller asks for. `prompt` names the person as "person"."""

    selfies: tuple[Rgb, ...]
    prompt: str
    seed: int = 1
    adapter: str | None = None
    steps: int | None = None
    strength: float | None = None
    final: bool = False


class Studio:
    """Warm parts, and portraits by the batch."""

    def __init__(self, parts: WorkerParts, recogniser: Recogniser) -> None:
        """`recogniser` is the one in the analyzer of `parts`."""
        self._parts, self._recogniser = parts, recogniser
        self._bundle = parts.bundle
        self._analyzer = _Remembering(parts.analyzer)
        self._preparer = Preparer(parts.bundle, self._analyzer)

    @property
    def adapters(self) -> list[str]:
        """The default one first."""
        return list(self._bundle.stacks)

    def without_identity(self) -> "Studio":
        """The same, but every ID token is zero: what is left of a person then did not come through the adapter."""
        stacks = {
            name: dataclasses.replace(stack, adapter=_Nobody(stack.adapter))
            for name, stack in self._bundle.stacks.items()
        }
        bundle = dataclasses.replace(self._bundle, stacks=stacks)
        return Studio(dataclasses.replace(self._parts, bundle=bundle, analyzer=self._analyzer), self._recogniser)

    @property
    def final(self) -> FinalSpec:
        """How the bundle makes finals."""
        assert self._bundle.final is not None
        return self._bundle.final

    def with_final(self, spec: FinalSpec) -> "Studio":
        """The same, but finals are made in this way."""
        bundle = dataclasses.replace(self._bundle, final=spec)
        return Studio(dataclasses.replace(self._parts, bundle=bundle, analyzer=self._analyzer), self._recogniser)

    def accepts(self, selfie: Rgb) -> bool:
        """Whether the photo judge would."""
        return judge(selfie, self._analyzer.analyze(selfie), PhotoLimits(), "largest").is_ok

    def introduce(self, selfie: Rgb, landmarks: np.ndarray) -> None:
        """From now on the face is found there, [5, 2]: for those whom the analyzer misses."""
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        centre, half = (low + high) / 2, 1.1 * float(np.linalg.norm(landmarks[1] - landmarks[0]))
        box = (*(centre - half).tolist(), *(centre + half).tolist())
        embedding = self._recogniser.embedding(selfie, landmarks)
        self._analyzer.remember(selfie, [Face(box, landmarks, 1.0, embedding, self._recogniser.space)])

    def landmarks(self, picture: Rgb) -> np.ndarray | None:
        """[5, 2] of the largest face, as the service finds it; None if it finds none."""
        faces = self._analyzer.analyze(picture)
        return faces[0].landmarks if faces else None

    def prepare(self, order: StudioOrder) -> Row:
        """Raises JobRefused, as the service would."""
        [row] = self._prepare(order).rows
        return row

    def _prepare(self, asked: StudioOrder) -> Prepared:
        order = Order(
            job_id="studio",
            photos=Photos(selfies=tuple(_picture(selfie) for selfie in asked.selfies)),
            words=Words(prompt=asked.prompt),
            seeds=[asked.seed],
            adapter=asked.adapter,
            sampling=Sampling(steps=asked.steps, strength=asked.strength),
            deadline_seconds=PLENTY_SECONDS,
            final=Final() if asked.final else None,
        )
        return self._preparer.prepare(WorkerJob.accept(order, time.monotonic()))

    def shoot(self, orders: Sequence[StudioOrder]) -> list[np.ndarray]:
        """Portraits [H, W, 3] uint8 in the order of `orders`, made in as few batches as the buckets allow."""
        prepared = [self._prepare(order) for order in orders]
        pictures = self.develop([one.rows[0] for one in prepared])
        return [
            present(torch.from_numpy(pixels), one.size, None).numpy()
            for pixels, one in zip(pictures, prepared, strict=True)
        ]

    def develop(self, rows: Sequence[Row]) -> list[np.ndarray]:
        """Strangers share batches, whatever their adapters, styles and steps, as in the service.

        The rows are numbered; a final comes in the size at which it was refined.
        """
        pixels: dict[int, np.ndarray] = {}
        for number, row in enumerate(rows):
            row.index = number
        for network in {row.key.network for row in rows}:
            engine = self.engine(network)
            for row in rows:
                if row.key.network == network:
                    engine.add(row)
            while engine.has_work:
                pixels |= {finished.row.index: finished.pixels.numpy() for finished in engine.tick().finished}
        return [pixels[number] for number in range(len(rows))]

    @property
    def unets(self) -> list[nn.Module]:
        """Each once, however many adapters share it."""
        return list(
            {stack.denoiser.name: stack.denoiser.modules()[0] for stack in self._bundle.stacks.values()}.values()
        )

    def engine(self, network: str, policy: Policy | None = None) -> Engine:
        """A new one for rows of this `key.network`."""
        denoisers = {stack.denoiser.name: stack.denoiser for stack in self._bundle.stacks.values()}
        return Engine(denoisers[network], self._bundle.decoder, buckets=self._parts.buckets, policy=policy)

    def engine_seconds(self, order: StudioOrder) -> float:
        """Steps and decoding of one portrait alone; finding the face and reading the prompt come before."""
        row = self.prepare(order)
        began = time.perf_counter()
        self.develop([row])
        return time.perf_counter() - began


def open_studio(folder: Path | None = None, *, max_rows: int = MAX_ROWS) -> Studio:
    """With the embedded bundle, or one in the same layout in `folder` (whose files are not held to any hash)."""
    setup = Setup(bundle=BUNDLE, device="cpu", max_rows=max_rows)
    parts = load_parts(setup) if folder is None else _parts_of(folder, setup)
    graph = ((folder or PACKAGE / BUNDLE) / "faces" / "recogniser.onnx").read_bytes()
    return Studio(parts, Recogniser(Network(graph, device="cpu", threads=torch.get_num_threads()), SPACE, smooth=True))


def _parts_of(folder: Path, setup: Setup) -> WorkerParts:
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / BUNDLE).symlink_to(folder.resolve())
        bundle = load_bundle(_manifest_of(folder), BUNDLE, weights_dir=Path(root), device=device)
    threads = torch.get_num_threads()
    analyzer = load_analyzer("bundled", bundled_dir=folder, faces_dir=None, device="cpu", threads=threads)
    return WorkerParts(bundle, analyzer, buckets_for(device, setup.max_rows))


def _manifest_of(folder: Path) -> Manifest:
    """The embedded bundle's entry, over other files."""
    spec = read_manifest().bundle(BUNDLE)
    files = [
        WeightFile(path=f"{BUNDLE}/{p.relative_to(folder)}", licence="own", commercial="yes", origin="own training")
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    ]
    return Manifest(bundles={BUNDLE: msgspec.structs.replace(spec, embedded=False)}, files=files)


def _picture(pixels: Rgb) -> Picture:
    height, width = pixels.shape[:2]
    return Picture(width=width, height=height, rgb=np.ascontiguousarray(pixels).tobytes())


class _Remembering:
    """An analyzer that looks at the same picture once: a person is photographed here in many styles."""

    def __init__(self, analyzer: FaceAnalyzer) -> None:
        self.name, self.space, self.sides = analyzer.name, analyzer.space, analyzer.sides
        self._analyzer = analyzer
        self._seen: dict[bytes, list[Face]] = {}

    def analyze(self, picture: Rgb) -> list[Face]:
        known = self._seen.get(picture.tobytes())
        if known is None:
            known = self._analyzer.analyze(picture)
            self.remember(picture, known)
        return known

    def detect(self, picture: Rgb) -> list[Face]:
        return self.analyze(picture)

    def remember(self, picture: Rgb, faces: list[Face]) -> None:
        self._seen[picture.tobytes()] = faces

    def for_space(self, space: str | None) -> FaceAnalyzer:
        self._analyzer.for_space(space)
        return self


class _Nobody:
    """An adapter whose ID tokens are zeros."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter

    def identity(self, *photos: Any) -> Identity:
        identity = self._adapter.identity(*photos)
        return dataclasses.replace(identity, tokens=torch.zeros_like(identity.tokens))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)
