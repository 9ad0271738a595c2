"""From verified files to modules: everything that one bundle keeps warm."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTokenizer

from models.adapters.adapter import Adapter
from models.adapters.applied_lora import AppliedLora
from models.adapters.instantid.adapter import IDENTITY_NET, InstantID
from models.adapters.instantid.checkpoint import load_instantid
from models.adapters.ip_adapter.adapter import IPAdapter
from models.adapters.ip_adapter.checkpoint import load_ip_adapter
from models.adapters.lora import Updates, check_lora, fuse_loras, part_of, read_lora
from models.adapters.lora_names import ModuleNames
from models.adapters.photomaker.adapter import NAMES, PhotoMaker
from models.adapters.photomaker.checkpoint import build_encoder, read_shape, split_checkpoint
from models.adapters.style_loras import StyleLoras
from models.bundle.modules import (
    Place,
    build_control_net,
    build_process,
    build_text_encoder,
    build_unet,
    build_vae,
    meta_unet,
)
from models.bundle.streaming import read_tensors
from models.bundle.tuning import Tuner
from models.engine.plan import Process
from models.sdxl.control import ControlNet
from models.sdxl.denoiser import PLAIN, Denoiser
from models.sdxl.folded import fold
from models.sdxl.text import TextEncoders
from models.sdxl.vae import Decoder
from models.weights.checkpoints import read_checkpoint
from models.weights.errors import WeightsError
from models.weights.manifest import BundleSpec
from models.wire.messages import FileInfo

LONGEST = 400  # characters of a library's error: torch lists every key of a file that doesn't fit


@dataclass(frozen=True, slots=True)
class Stack:
    """An adapter and the denoiser that its rows run on: its own if a LoRA of the adapter is fused in, else shared."""

    adapter: Adapter
    denoiser: Denoiser


@dataclass(frozen=True, slots=True)
class Modules:
    """The modules of one bundle."""

    text: TextEncoders
    stacks: dict[str, Stack]
    process: Process
    decoder: Decoder
    preview_decoder: Decoder | None
    style_loras: StyleLoras | None


class Loader:
    """Reads one bundle's components; lives for one call. Raises what its parts raise, naming keys and files."""

    def __init__(self, spec: BundleSpec, root: Path, files: Sequence[FileInfo], place: Place, tuner: Tuner) -> None:
        if tuner.speed.fp8 and spec.style_loras:
            raise WeightsError(
                f"style LoRAs can't be applied to fp8 weights, and this bundle has {len(spec.style_loras)}, like "
                f"{spec.style_loras[0].name!r}: leave out fp8, or the style LoRAs"
            )
        self._tuner = tuner
        self._spec = spec
        self._root = root
        self._digests = {file.id: file.sha256 for file in files}
        self._place = place
        self._fused: list[tuple[Updates, float]] = []  # the bundle's LoRAs, for every UNet and the text encoders

    def load(self) -> Modules:
        encoders = self._text_encoders()
        self._fused = self._loras(encoders)
        fuse_loras(encoders, [(part_of(updates, encoders), scale) for updates, scale in self._fused])
        style_loras = self._style_loras(encoders)
        applier = AppliedLora(encoders, style_loras) if style_loras else None
        text = TextEncoders(
            self._tokenizers(), (encoders["text_encoder"], encoders["text_encoder_2"]), lora_applier=applier
        )
        vae = self._vae(self._spec.vae)
        preview = self._vae(self._spec.preview_vae) if self._spec.preview_vae else vae
        quick = preview is not vae or isinstance(vae, AutoencoderTiny)
        return Modules(
            text=text,
            stacks=self._stacks(text, style_loras),
            process=build_process(self._config(self._spec.scheduler, "scheduler_config.json")),
            decoder=Decoder(vae, make_player=self._tuner.new_decoder()),
            preview_decoder=Decoder(preview, make_player=self._tuner.new_decoder()) if quick else None,
            style_loras=style_loras,
        )

    def _stacks(self, text: TextEncoders, style_loras: StyleLoras | None) -> dict[str, Stack]:
        """In the manifest's order: the first is the default.

        A LoRA acts on every forward pass, so each adapter that has one gets a UNet of its own; all others share one,
        and their rows share its batches.
        """
        fitted, nets = self._adapters(text)
        names = [adapter.name for adapter, _ in fitted]
        if not names or len(set(names)) < len(names):
            raise WeightsError(f"a bundle needs adapters, and each once; this one has {', '.join(names) or 'none'}")
        stacks, denoisers = dict[str, Stack](), dict[str, Denoiser]()
        for adapter, lora in fitted:
            unet = adapter.name if lora else PLAIN
            if unet not in denoisers:
                denoisers[unet] = self._denoiser(unet, lora, {} if lora else nets, style_loras)
            stacks[adapter.name] = Stack(adapter, denoisers[unet])
        return stacks

    def _adapters(self, text: TextEncoders) -> tuple[list[tuple[Adapter, Updates]], dict[str, ControlNet]]:
        """Each with its own LoRA, which may be empty, and the nets that they ask the plain UNet's denoiser for."""
        fitted: list[tuple[Adapter, Updates]] = [self._photomaker(path, text) for path in self._spec.photomaker]
        nets: dict[str, ControlNet] = {}
        if self._spec.instantid is not None:
            adapter, nets[IDENTITY_NET] = self._instantid(self._spec.instantid, text)
            fitted.append((adapter, {}))
        if self._spec.ip_adapter is not None:
            fitted.append((self._ip_adapter(self._spec.ip_adapter, text), {}))
        return fitted, nets

    def _denoiser(
        self, name: str, own_lora: Updates, nets: dict[str, ControlNet], style_loras: StyleLoras | None
    ) -> Denoiser:
        """Its UNet has the bundle's LoRAs, and an adapter's own, fused."""
        unet = build_unet(self._config(self._spec.unet), self._state(self._spec.unet), self._place)
        fused = [(part_of(updates, ["unet"]), scale) for updates, scale in self._fused]
        fuse_loras({"unet": unet}, [(own_lora, 1.0), *fused])
        applier = AppliedLora({"unet": unet}, style_loras) if style_loras else None
        denoiser = Denoiser(unet, name=name, nets=nets, lora_applier=applier, make_player=self._tuner.steps)
        self._tuner.quicken(unet)
        return denoiser

    def _photomaker(self, path: str, text: TextEncoders) -> tuple[PhotoMaker, Updates]:
        """With its LoRA, for checkpoints that have one: both published ones do."""
        config = (self._root / path).parent / "config.json"
        with _about(path):
            checkpoint = split_checkpoint(self._checkpoint(path), read_shape(config) if config.is_file() else None)
            lora = read_lora(checkpoint.lora, ModuleNames({"unet": self._outline}))
            check_lora({"unet": self._outline}, lora)
            adapter = PhotoMaker(
                build_encoder(checkpoint, self._place.device, self._place.dtype),
                text,
                self._tokenizers(),
                face_space=self._spec.face_spaces.get(NAMES[checkpoint.shape.version]),
            )
        return adapter, lora

    def _ip_adapter(self, path: str, text: TextEncoders) -> IPAdapter:
        encoder = self._spec.image_encoder
        if encoder is None:
            raise WeightsError(f"{path} needs its image encoder: say where with image_encoder")
        with _about(f"{path} and {encoder}"):
            state = self._checkpoint(path)
            return load_ip_adapter(state, self._config(encoder), self._state(encoder), self._outline, text)

    def _instantid(self, path: str, text: TextEncoders) -> tuple[InstantID, ControlNet]:
        folder = self._spec.identity_net
        if folder is None:
            raise WeightsError(f"{path} needs its ControlNet: say where with identity_net")
        with _about(folder):
            built = build_control_net(self._config(folder), self._state(folder), self._place)
            net = ControlNet(built, make_player=self._tuner.steps)
            self._tuner.quicken(built)
        with _about(path):
            space = self._spec.face_spaces.get(InstantID.name)
            return load_instantid(self._checkpoint(path), net, self._outline, text, face_space=space), net

    @cached_property
    def _outline(self) -> UNet2DConditionModel:
        """The UNet's names and shapes without storage: all that other files are checked against."""
        return meta_unet(self._config(self._spec.unet))

    def _loras(self, encoders: dict[str, nn.Module]) -> list[tuple[Updates, float]]:
        """Raises WeightsError naming the file and the key or shape that does not fit."""
        models = {"unet": self._outline, **encoders}
        names, loras = ModuleNames(models), list[tuple[Updates, float]]()
        for lora in self._spec.loras:
            with _about(lora.path):
                updates = read_lora(load_file(self._root / lora.path), names)
                check_lora(models, updates)
                loras.append((updates, lora.scale))
        return loras

    def _text_encoders(self) -> dict[str, nn.Module]:
        parts = {"text_encoder": self._spec.text_encoder, "text_encoder_2": self._spec.text_encoder_2}
        return {
            name: build_text_encoder(self._config(part), self._state(part), self._place) for name, part in parts.items()
        }

    def _style_loras(self, encoders: dict[str, nn.Module]) -> StyleLoras | None:
        files = {lora.name: self._root / lora.path for lora in self._spec.style_loras}
        models = {"unet": self._outline, **encoders}
        return StyleLoras(files, models, self._place.device) if files else None

    def _vae(self, part: str) -> AutoencoderKL | AutoencoderTiny:
        vae = build_vae(self._config(part), self._state(part), self._place)
        return fold(vae) if isinstance(vae, AutoencoderTiny) else vae

    def _tokenizers(self) -> tuple[CLIPTokenizer, CLIPTokenizer]:
        """Fresh ones on every call: adapters teach theirs a trigger word."""
        folders = (self._root / self._spec.tokenizer, self._root / self._spec.tokenizer_2)
        first, second = (CLIPTokenizer.from_pretrained(folder, local_files_only=True) for folder in folders)
        return first, second

    def _checkpoint(self, path: str) -> dict[str, Tensor]:
        return read_checkpoint(self._root, path, self._digests[path])

    def _config(self, part: str, name: str = "config.json") -> dict[str, Any]:
        with _about(f"{part}/{name}"):
            return json.loads((self._root / part / name).read_text())

    def _state(self, part: str) -> dict[str, Tensor]:
        """The tensors of a component folder: its one verified safetensors file, whatever the variant is called."""
        found = [name for name in self._digests if name.startswith(f"{part}/") and name.endswith(".safetensors")]
        if len(found) != 1:
            raise WeightsError(
                f"the manifest lists {len(found)} .safetensors files under {part}; exactly one is needed"
            )
        return read_tensors(self._root / found[0], self._place.device)


@contextmanager
def _about(path: str) -> Iterator[None]:
    """Name the file that an error is about: a file of another kind or version has other keys or shapes."""
    try:
        yield
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        text = str(error)
        raise WeightsError(f"{path}: {text[:LONGEST]}{' ...' if len(text) > LONGEST else ''}") from error
