"""What the published LoRA formats call the modules of an SDXL model.

A module is known here by its diffusers path under its component: `unet.down_blocks.1...`, `text_encoder....`,
`text_encoder_2....`. Trainers write that path with dots (diffusers, PEFT) or underscores (kohya), or, perhaps below
`diffusion_model`, the path of Stability's own code, whose UNet counts blocks through (`input_blocks.4.1` is
`down_blocks.1.attentions.0`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal

from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

Part = Literal["down", "up", "alpha"]
COMPONENTS = ("unet", "text_encoder", "text_encoder_2")

_KOHYA_STEMS = {
    "lora_unet": "unet",
    "lora_te": "text_encoder",
    "lora_te1": "text_encoder",
    "lora_te2": "text_encoder_2",
}
_KOHYA = re.compile(
    r"^(?P<stem>lora_unet|lora_te[12]?)_(?P<name>\w+)\.(?P<part>lora_down\.weight|lora_up\.weight|alpha)$"
)
_DOTTED = re.compile(  # PEFT's own dumps have the adapter's name before `weight`
    r"^(?!lora_)(?:base_model\.model\.)?(?:(?P<component>unet|(?:model\.)?diffusion_model|text_encoder_2|text_encoder)\.)?"
    r"(?P<name>.+?)\.(?:(?P<part>lora_A|lora_B|lora_down|lora_up|lora(?:_linear_layer)?\.(?:down|up))"
    r"(?:\.default(?:_\d+)?)?\.weight|alpha)$"
)
_PROCESSOR = re.compile(
    r"^(?:(?P<component>unet|text_encoder_2|text_encoder)\.)?(?P<name>.+?)(?:\.processor)?"
    r"\.to_(?P<which>q|k|v|out)_lora\.(?P<part>down|up)\.weight$"
)
_PARTS: dict[str, Part] = {
    "lora_A": "down",
    "lora_B": "up",
    "lora_down": "down",
    "lora_up": "up",
    "down": "down",
    "up": "up",
    "alpha": "alpha",
}
_SGM_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


class ModuleNames:
    """Looks up the module that a key means. Built once for a set of components; keeps names, no modules."""

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        """`models`: `unet`, and `text_encoder` and `text_encoder_2` where their updates are wanted too."""
        self._paths = {component: dict(_aliases(model)) for component, model in models.items()}

    def find(self, key: str) -> tuple[str, Part] | None:
        """The module's path and which part of its update this key holds; None for a module that isn't there.

        Raises KeyError for a key in no known format.
        """
        component, name, part = split_key(key)
        path = self._paths.get(component, {}).get(name.replace(".", "_"))
        return None if path is None else (f"{component}.{path}", part)


def split_key(key: str) -> tuple[str, str, Part]:
    """Component, module name in whatever spelling, part. Raises KeyError."""
    if match := _KOHYA.match(key):
        return _KOHYA_STEMS[match["stem"]], match["name"], _part(match["part"].removeprefix("lora_"))
    if match := _PROCESSOR.match(key):
        component = match["component"] or "unet"
        return component, f"{match['name']}.{_projection(component, match['which'])}", _PARTS[match["part"]]
    if match := _DOTTED.match(key):
        component = match["component"] or "unet"
        is_unet = component.endswith("diffusion_model")
        return "unet" if is_unet else component, match["name"], _part(match["part"] or "alpha")
    raise KeyError(key)


def _part(text: str) -> Part:
    return _PARTS[text.removesuffix(".weight").rpartition(".")[2]]


def _projection(component: str, which: str) -> str:
    """Attention-processor keys name the projection by its role; the two libraries' layers call it otherwise."""
    if component == "unet":
        return "to_out.0" if which == "out" else f"to_{which}"
    return f"{which}_proj"


def _aliases(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Every underscored name of every module, and the module's path."""
    for path, _ in model.named_modules():
        flat = path.replace(".", "_")
        yield flat, path
        if not isinstance(model, UNet2DConditionModel):  # CLIP's paths lost and kept `text_model.` over the years
            yield f"text_model_{flat}", path
            yield flat.removeprefix("text_model_"), path
    if isinstance(model, UNet2DConditionModel):
        for name, path in sgm_names(model):
            yield name.replace(".", "_"), path


def sgm_names(unet: UNet2DConditionModel) -> Iterator[tuple[str, str]]:
    """The name in Stability's code, and the diffusers path, of every module inside the UNet's blocks."""
    blocks = dict(_sgm_blocks(unet))
    for path, _ in unet.named_modules():
        block = next((block for block in blocks if path == block or path.startswith(f"{block}.")), None)
        if block is None:
            continue
        rest = path[len(block) + 1 :]
        if ".resnets." in block:
            rest = _SGM_RESNET.get(rest, rest)
        yield f"{blocks[block]}.{rest}".removesuffix("."), path


def _sgm_blocks(unet: UNet2DConditionModel) -> Iterator[tuple[str, str]]:
    """Diffusers' block and the SGM block that is the same: numbered through, samplers counted in."""
    yield from _SGM_OUTSIDE.items()
    place = 1
    for i, block in enumerate(unet.down_blocks):
        for j in range(len(block.resnets)):  # pyright: ignore[reportArgumentType]
            yield f"down_blocks.{i}.resnets.{j}", f"input_blocks.{place}.0"
            yield f"down_blocks.{i}.attentions.{j}", f"input_blocks.{place}.1"
            place += 1
        if block.downsamplers is not None:
            yield f"down_blocks.{i}.downsamplers.0.conv", f"input_blocks.{place}.0.op"
            place += 1
    place = 0
    for i, block in enumerate(unet.up_blocks):
        for j in range(len(block.resnets)):  # pyright: ignore[reportArgumentType]
            yield f"up_blocks.{i}.resnets.{j}", f"output_blocks.{place}.0"
            yield f"up_blocks.{i}.attentions.{j}", f"output_blocks.{place}.1"
            place += 1
        if block.upsamplers is not None:
            after = 2 if hasattr(block, "attentions") else 1
            yield f"up_blocks.{i}.upsamplers.0.conv", f"output_blocks.{place - 1}.{after}.conv"


_SGM_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "conv_out": "out.2",
}
