"""How many bytes of parameters each adapter of a bundle keeps on the device, its own and shared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from models.adapters.adapter import Adapter
from models.sdxl.denoiser import Denoiser

Storages = dict[int, int]  # where a tensor's bytes begin -> how many there are


@dataclass(frozen=True, slots=True)
class Footprint:
    """`shared_bytes` are in the footprint of other adapters too, or would be; `own_bytes` in no other's."""

    own_bytes: int
    shared_bytes: int


def footprints(stacks: Mapping[str, tuple[Adapter, Denoiser]], common: Iterable[nn.Module]) -> dict[str, Footprint]:
    """By adapter. `common` are the modules that every adapter works with: text encoders and VAEs.

    A UNet is its adapter's own if a LoRA of that adapter is fused into it, so that no other can use it.
    """
    every = storages_of(common)
    result = {}
    for name, (adapter, denoiser) in stacks.items():
        own = storages_of(adapter.modules())
        networks = storages_of(denoiser.modules())
        if denoiser.name == name:
            own |= networks
            networks = {}
        shared = {place: size for place, size in (every | networks).items() if place not in own}
        result[name] = Footprint(sum(own.values()), sum(shared.values()))
    return result


def storages_of(modules: Iterable[nn.Module]) -> Storages:
    """Each storage once, however many parameters and buffers view it."""
    tensors = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    storages = (tensor.untyped_storage() for tensor in tensors)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
