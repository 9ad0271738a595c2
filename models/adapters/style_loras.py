"""An operator's style LoRAs: all checked at the start, the lately used kept ready on the device."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from models.adapters.lora import LoraError, Updates, check_lora
from models.adapters.lora_file import read_lora_file
from models.adapters.lora_names import ModuleNames


class StyleLoras:
    """LoRA files by name. Thread-safe: the preparation thread fetches ahead what the engine's thread then takes."""

    def __init__(
        self, files: Mapping[str, Path], models: Mapping[str, nn.Module], device: torch.device, *, max_ready: int = 4
    ) -> None:
        """Reads every file once; `models` are the components that a LoRA may change, for their names and shapes.

        Raises LoraError naming the LoRA and its first key that does not fit. A file of 400 MB costs that much device
        memory while it is among the `max_ready`.
        """
        self._files = dict(files)
        self._device = device
        self._max_ready = max_ready
        self._ready: OrderedDict[str, Updates] = OrderedDict()  # the last one was used last
        self._lock = threading.Lock()
        self._names = ModuleNames(models)
        for name in files:
            try:
                check_lora(models, self.take(name))
            except LoraError as error:
                raise LoraError(f"LoRA {name!r} ({files[name].name}): {error}") from error

    def take(self, name: str) -> Updates:
        """The LoRA's updates, on the device; from the disk if it has not been used lately."""
        with self._lock:
            if name not in self._ready:
                updates = read_lora_file(self._files[name], self._names)
                self._ready[name] = {path: update.to(self._device) for path, update in updates.items()}
            self._ready.move_to_end(name)
            while len(self._ready) > self._max_ready:
                self._ready.popitem(last=False)
            return self._ready[name]
