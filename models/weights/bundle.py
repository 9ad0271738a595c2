"""A bundle: the modules that one worker keeps warm, loaded from verified files."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from models.adapters.adapter import Adapter
from models.adapters.lora import fuse_loras, read_lora
from models.adapters.lora_names import ModuleNames
from models.adapters.lora_rack import LoraRack
from models.adapters.lora_shelf import LoraShelf
from models.adapters.photomaker.adapter import NAMES, PhotoMaker
from models.adapters.photomaker.checkpoint import (
    PhotoMakerCheckpoint,
    build_encoder,
    read_shape,
    split_checkpoint,
)
from models.engine.plan import NoiseSchedule
from models.messages import AdapterInfo, BundleInfo, FileInfo, LoraInfo
from models.sdxl.denoiser import Denoiser
from models.sdxl.text import TextEncoders
from models.sdxl.vae import Decoder
from models.weights.checkpoints import read_checkpoint
from models.weights.errors import WeightsError
from models.weights.integrity import verify
from models.weights.manifest import BundleSpec, Manifest, refuse_noncommercial, root_of
from models.weights.memory import footprints
from models.weights.modules import Place, build_schedule, build_text_encoder, build_unet, build_vae, meta_unet

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stack:
    """An adapter and the UNet that its LoRA is fused into."""

    adapter: Adapter
    denoiser: Denoiser


@dataclass(frozen=True, slots=True)
class Bundle:
    """Everything warm for one base model. Immutable; request data never lives here."""

    info: BundleInfo
    schedule: NoiseSchedule
    stacks: dict[str, Stack]  # by adapter name; the first is the default
    decoder: Decoder
    preview_decoder: Decoder | None
    shelf: LoraShelf | None  # of the style LoRAs

    @property
    def device(self) -> torch.device:
        return self.decoder.device


def load_bundle(
    manifest: Manifest,
    name: str,
    *,
    weights_dir: Path | None = None,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    accept_noncommercial: bool = False,
    faces: bool = False,
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
    infos = verify(files, root, manifest.files)
    try:
        return _Loader(spec, root, infos, place).load(name, accept_noncommercial)
    except (KeyError, OSError, ValueError) as error:
        raise WeightsError(f"bundle {name!r}: {error}") from error


class _Loader:
    """Reads one bundle's components; lives for one call."""

    def __init__(self, spec: BundleSpec, root: Path, files: list[FileInfo], place: Place) -> None:
        self._spec = spec
        self._root = root
        self._files = files
        self._place = place

    def load(self, name: str, accept_noncommercial: bool) -> Bundle:
        encoders = self._text_encoders()
        shelf = self._shelf(encoders)
        rack = LoraRack(encoders, shelf) if shelf else None
        text = TextEncoders(self._tokenizers(), (encoders["text_encoder"], encoders["text_encoder_2"]), rack=rack)
        stacks = dict(self._stack(path, text, shelf) for path in self._spec.photomaker)
        preview = self._spec.preview_vae
        decoder = self._decoder(self._spec.vae)
        tiny = self._config(self._spec.vae).get("_class_name") == "AutoencoderTiny"
        adapters = _adapters(stacks, [*text.modules(), *decoder.modules()])
        return Bundle(
            info=_describe(name, self._spec, adapters, self._files, accept_noncommercial),
            schedule=build_schedule(self._config(self._spec.scheduler, "scheduler_config.json")),
            stacks=stacks,
            decoder=decoder,
            preview_decoder=self._decoder(preview) if preview else decoder if tiny else None,
            shelf=shelf,
        )

    def _text_encoders(self) -> dict[str, nn.Module]:
        parts = {"text_encoder": self._spec.text_encoder, "text_encoder_2": self._spec.text_encoder_2}
        return {
            name: build_text_encoder(self._config(part), self._state(part), self._place) for name, part in parts.items()
        }

    def _shelf(self, encoders: dict[str, nn.Module]) -> LoraShelf | None:
        """A UNet's names and shapes are all that a file is checked against, so one without storage will do."""
        files = {lora.name: self._root / lora.path for lora in self._spec.style_loras}
        models = {"unet": meta_unet(self._config(self._spec.unet)), **encoders}
        return LoraShelf(files, models, self._place.device) if files else None

    def _stack(self, path: str, text: TextEncoders, shelf: LoraShelf | None) -> tuple[str, Stack]:
        """LoRAs act on every forward pass, so each PhotoMaker version has a UNet of its own."""
        checkpoint = self._checkpoint(path)
        unet = build_unet(self._config(self._spec.unet), self._state(self._spec.unet), self._place)
        names = ModuleNames({"unet": unet})
        fused = [(read_lora(load_file(self._root / lora.path), names), lora.scale) for lora in self._spec.loras]
        fuse_loras({"unet": unet}, [(read_lora(checkpoint.lora, names), 1.0), *fused])
        adapter = PhotoMaker(
            build_encoder(checkpoint, self._place.device, self._place.dtype),
            text,
            self._tokenizers(),
            face_space=self._spec.face_spaces.get(NAMES[checkpoint.shape.version]),
        )
        rack = LoraRack({"unet": unet}, shelf) if shelf else None
        return adapter.name, Stack(adapter, Denoiser(unet, name=adapter.name, rack=rack))

    def _decoder(self, part: str) -> Decoder:
        return Decoder(build_vae(self._config(part), self._state(part), self._place))

    def _checkpoint(self, path: str) -> PhotoMakerCheckpoint:
        config = (self._root / path).parent / "config.json"
        digest = next(file.sha256 for file in self._files if file.id == path)
        state = read_checkpoint(self._root, path, digest)
        return split_checkpoint(state, read_shape(config) if config.is_file() else None)

    def _tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        """Fresh ones on every call: adapters teach theirs a trigger word."""
        folders = (self._root / self._spec.tokenizer, self._root / self._spec.tokenizer_2)
        first, second = (CLIPTokenizer.from_pretrained(folder, local_files_only=True) for folder in folders)
        return first, second

    def _config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        return json.loads((self._root / part / name).read_text())

    def _state(self, part: str) -> dict[str, Tensor]:
        """The tensors of a component folder: its one verified safetensors file, whatever the variant is called."""
        found = [f.id for f in self._files if f.id.startswith(f"{part}/") and f.id.endswith(".safetensors")]
        if len(found) != 1:
            raise WeightsError(
                f"the manifest lists {len(found)} .safetensors files under {part}; exactly one is needed"
            )
        return load_file(self._root / found[0])


def _adapters(stacks: dict[str, Stack], common: list[nn.Module]) -> list[AdapterInfo]:
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
        accepted_noncommercial=accepted,
        files=files,
    )
