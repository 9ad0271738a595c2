"""How many bytes of parameters each loaded adapter keeps on the device, its own and shared."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from models.adapters.adapter import Adapter
from models.sdxl.denoiser import Denoiser
from models.weights.footprint import Footprint


def footprints(stacks: Mapping[str, tuple[Adapter, Denoiser]], common: Iterable[nn.Module]) -> dict[str, Footprint]:
    """By adapter. `common` are the modules that every adapter works with.

    A UNet is its adapter's own if a LoRA of that adapter is fused into it, so that no other can use it.
    """
    every = _storages(common)
    result = {}
    for name, (adapter, denoiser) in stacks.items():
        own, networks = _storages(adapter.modules()), _storages(denoiser.modules())
        if denoiser.name == name:
            own, networks = own | networks, {}
        shared = {place: size for place, size in (every | networks).items() if place not in own}
        result[name] = Footprint(sum(own.values()), sum(shared.values()))
    return result


def _storages(modules: Iterable[nn.Module]) -> dict[int, int]:
    """Each storage once, however many parameters view it: where it begins -> its bytes."""
    parameters: Iterable[Tensor] = (parameter for module in modules for parameter in module.parameters())
    storages = (parameter.untyped_storage() for parameter in parameters)
    return {storage.data_ptr(): storage.nbytes() for storage in storages}
