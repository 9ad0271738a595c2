"""PhotoMaker from its checkpoint, which brings a LoRA: both published ones do."""

from models.adapters.loading import LoadedAdapter, Reader
from models.adapters.lora import check_lora, read_lora
from models.adapters.lora_names import ModuleNames
from models.adapters.photomaker.adapter import PhotoMaker
from models.adapters.photomaker.checkpoint import build_encoder, read_shape, split_checkpoint
from models.adapters.photomaker.spec import PhotoMakerSpec
from models.sdxl.text import TextEncoders


def load_photomaker(
    spec: PhotoMakerSpec, reader: Reader, text: TextEncoders, *, face_space: str | None
) -> LoadedAdapter:
    """Raises ValueError for a checkpoint of the other version, and what its parts raise."""
    config = reader.companion(spec.config)
    unet = {"unet": reader.outline}
    checkpoint = split_checkpoint(reader.checkpoint(spec.path), read_shape(config) if config else None)
    lora = read_lora(checkpoint.lora, ModuleNames(unet))
    check_lora(unet, lora)
    encoder = build_encoder(checkpoint, text.device, text.dtype)
    adapter = PhotoMaker(encoder, text, reader.tokenizers(), face_space=face_space)
    if adapter.name != spec.name:
        raise ValueError(f"the checkpoint is of the type {adapter.name!r}, and the manifest says {spec.name!r}")
    return LoadedAdapter(adapter, lora)
