"""From verified files to modules: everything that one bundle keeps warm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import nn

from models.adapters.adapter import Adapter
from models.adapters.applied_lora import AppliedLora
from models.adapters.loading import LoadedAdapter
from models.adapters.lora import Updates, check_lora, fuse_loras, part_of
from models.adapters.lora_file import read_lora_file
from models.adapters.lora_names import ModuleNames
from models.adapters.spec import AdapterSpec
from models.adapters.style_loras import StyleLoras
from models.bundle.modules import Place, build_process, build_text_encoder, build_unet, build_vae
from models.bundle.reader import BundleReader, about
from models.bundle.tuning import Tuner
from models.engine.plan import Process
from models.sdxl.denoiser import PLAIN, Denoiser
from models.sdxl.folded import fold
from models.sdxl.text import TextEncoders
from models.sdxl.vae import Decoder
from models.weights.errors import WeightsError
from models.weights.manifest import BundleSpec, Lora
from models.wire.bundle_info import FileInfo


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

    def __init__(
        self,
        spec: BundleSpec,
        root: Path,
        files: Sequence[FileInfo],
        place: Place,
        tuner: Tuner,
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        """`folders` has, by path, those files that may lie below another folder than `root`: LoRAs."""
        if tuner.speed.fp8 and spec.style_loras:
            raise WeightsError(
                f"style LoRAs can't be applied to fp8 weights, and this bundle has {len(spec.style_loras)}, like "
                f"{spec.style_loras[0].name!r}: leave out fp8, or the style LoRAs"
            )
        self._tuner = tuner
        self._spec = spec
        self._root = root
        self._folders = folders or {}
        self._reader = BundleReader(spec, root, files, place, tuner)
        self._fused: list[tuple[Updates, float]] = []  # the bundle's LoRAs, for every UNet and the text encoders

    def load(self) -> Modules:
        encoders = self._text_encoders()
        self._fused = self._loras(encoders)
        fuse_loras(encoders, [(part_of(updates, encoders), scale) for updates, scale in self._fused])
        style_loras = self._style_loras(encoders)
        applier = AppliedLora(encoders, style_loras) if style_loras else None
        text = TextEncoders(
            self._reader.tokenizers(), (encoders["text_encoder"], encoders["text_encoder_2"]), lora_applier=applier
        )
        vae = self._vae(self._spec.vae)
        preview = self._vae(self._spec.preview_vae) if self._spec.preview_vae else vae
        quick = preview is not vae or isinstance(vae, AutoencoderTiny)
        return Modules(
            text=text,
            stacks=self._stacks(text, style_loras),
            process=build_process(self._reader.config(self._spec.scheduler, "scheduler_config.json")),
            decoder=Decoder(vae, make_runner=self._tuner.new_decoder()),
            preview_decoder=Decoder(preview, make_runner=self._tuner.new_decoder()) if quick else None,
            style_loras=style_loras,
        )

    def _stacks(self, text: TextEncoders, style_loras: StyleLoras | None) -> dict[str, Stack]:
        """In the manifest's order: the first is the default.

        A LoRA acts on every forward pass, so each adapter that has one gets a UNet of its own; all others share one,
        and their rows share its batches.
        """
        adapters = [self._adapter(spec, text) for spec in self._spec.adapters]
        sharing: dict[str, list[LoadedAdapter]] = {}
        for loaded in adapters:
            sharing.setdefault(_unet_of(loaded), []).append(loaded)
        denoisers = {name: self._denoiser(name, users, style_loras) for name, users in sharing.items()}
        return {loaded.adapter.name: Stack(loaded.adapter, denoisers[_unet_of(loaded)]) for loaded in adapters}

    def _adapter(self, spec: AdapterSpec, text: TextEncoders) -> LoadedAdapter:
        with about(*spec.parts):
            return spec.load(self._reader, text)

    def _denoiser(self, name: str, users: Sequence[LoadedAdapter], style_loras: StyleLoras | None) -> Denoiser:
        """Its UNet has the LoRA of the one that it belongs to fused, if it belongs to one, and the bundle's."""
        reader, part = self._reader, self._spec.unet
        unet = build_unet(reader.config(part), reader.state(part), reader.place)
        own = [(loaded.lora, 1.0) for loaded in users]
        fused = [(part_of(updates, ["unet"]), scale) for updates, scale in self._fused]
        fuse_loras({"unet": unet}, [*own, *fused])
        nets = {name: net for loaded in users for name, net in loaded.nets.items()}
        applier = AppliedLora({"unet": unet}, style_loras) if style_loras else None
        denoiser = Denoiser(unet, name=name, nets=nets, lora_applier=applier, make_runner=self._tuner.steps)
        self._tuner.optimise(unet)
        return denoiser

    def _loras(self, encoders: dict[str, nn.Module]) -> list[tuple[Updates, float]]:
        """Raises WeightsError naming the file and the key or shape that does not fit."""
        models = {"unet": self._reader.outline, **encoders}
        names, loras = ModuleNames(models), list[tuple[Updates, float]]()
        for lora in self._spec.loras:
            with about(lora.path):
                updates = read_lora_file(self._path_of(lora), names)
                check_lora(models, updates)
                loras.append((updates, lora.scale))
        return loras

    def _text_encoders(self) -> dict[str, nn.Module]:
        parts = {"text_encoder": self._spec.text_encoder, "text_encoder_2": self._spec.text_encoder_2}
        reader = self._reader
        return {
            name: build_text_encoder(reader.config(part), reader.state(part), reader.place)
            for name, part in parts.items()
        }

    def _style_loras(self, encoders: dict[str, nn.Module]) -> StyleLoras | None:
        files = {lora.name: self._path_of(lora) for lora in self._spec.style_loras}
        models = {"unet": self._reader.outline, **encoders}
        return StyleLoras(files, models, self._reader.place.device) if files else None

    def _path_of(self, lora: Lora) -> Path:
        return self._folders.get(lora.path, self._root) / lora.path

    def _vae(self, part: str) -> AutoencoderKL | AutoencoderTiny:
        vae = build_vae(self._reader.config(part), self._reader.state(part), self._reader.place)
        return fold(vae) if isinstance(vae, AutoencoderTiny) else vae


def _unet_of(loaded: LoadedAdapter) -> str:
    return loaded.adapter.name if loaded.lora else PLAIN
