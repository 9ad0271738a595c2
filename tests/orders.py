"""Orders whose groups' fields are given flat, as a test cares for few of them."""

from models.wire.groups import Delivery, Placing, Sampling, size_text
from models.wire.order import Order, Photos, Words

GROUPS = {"photos": Photos, "words": Words, "sampling": Sampling, "placing": Placing, "delivery": Delivery}


def order_of(*, selfies=(), width=None, height=None, **flat):
    """`width` and `height` make the size."""
    if width is not None:
        flat["size"] = size_text((width, height))
    return Order(**grouped(GROUPS, flat | {"selfies": tuple(selfies)}))


def grouped(kinds, flat):
    """The groups that have these fields, by name, beside those that no group has."""
    held = {name: _held(kind, flat) for name, kind in kinds.items()}
    names = {field for fields in held.values() for field in fields}
    alone = {name: value for name, value in flat.items() if name not in names}
    return alone | {name: kinds[name](**fields) for name, fields in held.items()}


def _held(kind, flat):
    return {field: flat[field] for field in kind.__struct_fields__ if field in flat}
