"""The groups' fields: what a caller may set says so in a sentence, and what only the service sets says nothing."""

import msgspec
import pytest

from models.wire.groups import Delivery, Placing, Sampling

OURS = {"control_window", "mark", "longest_side"}


@pytest.mark.parametrize("group", [Sampling, Placing, Delivery])
def test_every_field_that_a_caller_may_set_has_a_sentence(group):
    properties = msgspec.json.schema(group)["$defs"][group.__name__]["properties"]
    silent = {name for name, schema in properties.items() if "description" not in str(schema)}
    assert silent == OURS & set(properties)


@pytest.mark.parametrize("group", [Sampling, Placing, Delivery])
def test_nothing_need_be_said(group):
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(group()), type=group) == group()


def test_a_field_of_another_release_is_not_passed_over():
    """A picture made without it would be another picture."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"steps": 4, "eta": 0.5}), type=Sampling)
