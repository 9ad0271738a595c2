"""Scenes whose groups' fields are given flat, as a test cares for few of them."""

from models.adapters.adapter import Scene
from models.wire.filled_sampling import FilledSampling
from models.wire.groups import Placing, size_text
from models.wire.order import Words
from tests.orders import grouped

USUAL = {"steps": 4, "sampler": "euler", "guidance": 1.0, "strength": 1.0}


def scene_of(*, width, height, lora=None, **flat):
    """`lora` is a LoraChoice."""
    flat = USUAL | flat | {"size": size_text((width, height))}
    if lora is not None:
        flat |= {"lora": lora.name, "lora_scale": lora.scale}
    return Scene(**grouped({"words": Words, "sampling": FilledSampling, "placing": Placing}, flat))
