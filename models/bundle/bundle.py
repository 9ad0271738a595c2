"""A bundle: the modules that one worker keeps warm, loaded from verified files."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from models.adapters.style_loras import StyleLoras
from models.bundle.loader import Loader, Modules, Stack
from models.bundle.memory import footprints
from models.bundle.modules import Place
from models.bundle.tuning import Tuner
from models.engine.plan import Process
from models.sdxl.speed import EAGER, Speed
from models.sdxl.vae import Decoder
from models.weights.errors import WeightsError
from models.weights.integrity import verify
from models.weights.manifest import BundleSpec, FinalSpec, Manifest, folder_of, refuse_noncommercial, root_of
from models.wire.bundle_info import AdapterInfo, BundleInfo, FileInfo, FinalInfo, LoraInfo

__all__ = ["Bundle", "Stack", "load_bundle"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything warm for one base model. Immutable; nothing of an order is kept here."""

    info: BundleInfo
    process: Process
    stacks: dict[str, Stack]  # by adapter name; the first is the default
    decoder: Decoder
    preview_decoder: Decoder | None
    style_loras: StyleLoras | None
    final: FinalSpec | None = None  # how it makes finals, if it does
    attention: str = ""  # the kernel that was chosen, for people

    @property
    def device(self) -> torch.device:
        return self.decoder.device

    def forget(self) -> None:
        """When no job is left: overwrite what recorded calls hold of the last ones."""
        for stack in self.stacks.values():
            stack.denoiser.forget()
        for decoder in (self.decoder, self.preview_decoder):
            if decoder is not None:
                decoder.calls.forget()


def load_bundle(
    manifest: Manifest,
    name: str,
    *,
    weights_dir: Path | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    accept_noncommercial: bool = False,
    faces: bool = False,
    speed: Speed = EAGER,
) -> Bundle:
    """Verify, read, fuse. Raises WeightsError with a message for the operator.

    `dtype` is float32 on a CPU and bfloat16 on a GPU unless given. With `faces` the files of the bundle's own face
    analyzers are verified and told of too; loading them is not done here.
    """
    device = device or torch.device("cpu")
    place = Place(device, dtype or (torch.float32 if device.type == "cpu" else torch.bfloat16))
    spec = manifest.bundle(name)
    root = root_of(spec, weights_dir)
    files = manifest.files_of(spec, faces=faces)
    for file in refuse_noncommercial(name, files, accept=accept_noncommercial):
        log.warning("bundle %s: %s (%s) is accepted for non-commercial use only", name, file.path, file.licence)
    infos = verify(files, root, manifest.files, profile=name)
    try:
        tuner = Tuner(speed, place.device, place.dtype)
        folders = {file.path: folder_of(file, root) for file in files}
        loaded = Loader(spec, root, infos, place, tuner, folders).load()
    except WeightsError:
        raise
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"bundle {name!r}: {error}") from error
    return Bundle(
        info=_describe(name, spec, _adapters(loaded), infos, accept_noncommercial),
        process=loaded.process,
        stacks=loaded.stacks,
        decoder=loaded.decoder,
        preview_decoder=loaded.preview_decoder,
        style_loras=loaded.style_loras,
        final=spec.final,
        attention=tuner.attention,
    )


def _revision(files: list[FileInfo]) -> str:
    """Of all the bundle's weights: other bytes in any file are another revision."""
    lines = sorted(f"{file.id} {file.sha256}" for file in files)
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _finals(spec: FinalSpec) -> FinalInfo:
    return FinalInfo(sizes=list(spec.sizes), steps=spec.refining, refined_in_size=spec.enlarge == "before")


def _adapters(loaded: Modules) -> list[AdapterInfo]:
    stacks, common = loaded.stacks, [*loaded.text.modules(), *loaded.decoder.modules()]
    sizes = footprints({name: (stack.adapter, stack.denoiser) for name, stack in stacks.items()}, common)
    return [
        AdapterInfo(
            name=name,
            takes_pose=stack.adapter.takes_pose,
            own_bytes=sizes[name].own_bytes,
            shared_bytes=sizes[name].shared_bytes,
        )
        for name, stack in stacks.items()
    ]


def _loras(spec: BundleSpec, files: list[FileInfo]) -> list[LoraInfo]:
    terms = {file.id: file for file in files}
    return [
        LoraInfo(
            name=lora.name,
            scale=lora.scale,
            licence=terms[lora.path].licence,
            commercial=terms[lora.path].commercial,
        )
        for lora in spec.style_loras
    ]


def _describe(
    name: str, spec: BundleSpec, adapters: list[AdapterInfo], files: list[FileInfo], accepted: bool
) -> BundleInfo:
    return BundleInfo(
        name=name,
        title=spec.title,
        adapters=adapters,
        loras=_loras(spec, files),
        samplers=list(spec.samplers),
        sizes=list(spec.sizes),
        max_steps=spec.max_steps,
        default_adapter=adapters[0].name,
        default_sampler=spec.sampler,
        default_size=spec.size,
        default_steps=spec.steps,
        default_guidance=spec.guidance,
        default_strength=spec.strength,
        default_framing=spec.framing,
        accepted_noncommercial=accepted,
        files=files,
        revision=_revision(files),
        finals=_finals(spec.final) if spec.final else None,
    )
