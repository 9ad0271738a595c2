"""An identity as bytes: it comes back bit by bit where it belongs, and nowhere else; nothing in it is trusted."""

import msgspec
import numpy as np
import pytest
import torch

from models.adapters.adapter import Identity, Pose, TokenShape
from models.adapters.packing import MAX_BYTES, IdentityRefused, Kept, pack, unpack

CPU = torch.device("cpu")
REVISION = "weights of today"


class SomeAdapter:
    """As much of an adapter as packing looks at: two tokens a selfie, eight numbers wide."""

    name = "some"
    takes_pose = True

    def __init__(self, dtype=torch.float32, *, one_for_all=False):
        self.tokens = TokenShape(2, 8, dtype, CPU, one_for_all)


def pose(shift=0.0):
    landmarks = np.arange(10, dtype=np.float32).reshape(5, 2) / 3 + np.float32(shift)
    return Pose(landmarks, (0.1 + shift, 0.2, 50.3, 60.4), (64, 80))


def kept(rows=2, dtype=torch.float32, **changes):
    tokens = torch.randn(rows, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    return Kept(Identity(tokens, changes.get("pose", pose())), changes.get("stands"))


def harmed(data, **changes):
    """The same bytes with fields of the message replaced, by their place in it."""
    names = ("version", "adapter", "revision", "dtype", "shape", "tokens", "pose", "stands")
    fields = msgspec.msgpack.decode(data)
    for name, value in changes.items():
        fields[names.index(name)] = value
    return msgspec.msgpack.encode(fields)


def refusal(data, adapter=None, revision=REVISION):
    with pytest.raises(IdentityRefused) as caught:
        unpack(data, adapter or SomeAdapter(), revision)
    return caught.value.code


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_it_comes_back_bit_by_bit(dtype):
    adapter, mine = SomeAdapter(dtype), kept(4, dtype, stands=pose(3.0))
    back = unpack(pack(mine, adapter, REVISION), adapter, REVISION)
    assert torch.equal(back.identity.tokens.view(torch.uint8), mine.identity.tokens.view(torch.uint8))
    for old, new in ((mine.identity.pose, back.identity.pose), (mine.stands, back.stands)):
        assert np.array_equal(old.landmarks, new.landmarks)
        assert old.landmarks.dtype == new.landmarks.dtype
        assert (old.box, old.size) == (new.box, new.size)


def test_it_is_small():
    """PhotoMaker v2 in full size: 2 tokens of 2,048 numbers in bfloat16, and little beside them."""
    adapter = SomeAdapter(torch.bfloat16)
    adapter.tokens = TokenShape(2, 2048, torch.bfloat16, CPU)
    tokens = torch.zeros(2, 2048, dtype=torch.bfloat16)
    assert len(pack(Kept(Identity(tokens, pose())), adapter, "r" * 32)) < 2 * 2048 * 2 + 250


def test_a_worker_of_another_precision_gets_its_own():
    data = pack(kept(2), SomeAdapter(), REVISION)
    assert unpack(data, SomeAdapter(torch.bfloat16), REVISION).identity.tokens.dtype == torch.bfloat16


def test_an_identity_of_another_adapter_or_other_weights_is_refused():
    data = pack(kept(), SomeAdapter(), REVISION)
    other = SomeAdapter()
    other.name = "other"
    assert refusal(data, other) == "identity_wrong_adapter"
    assert refusal(data, revision="weights of tomorrow") == "identity_wrong_bundle"
    assert refusal(harmed(data, version=2)) == "identity_wrong_version"


def test_every_truncation_is_refused():
    data = pack(kept(), SomeAdapter(), REVISION)
    assert {refusal(data[:length]) for length in range(len(data))} == {"identity_malformed"}


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"\xc1", b"\x91" * 100_000, b"cos\nsystem\n(S'true'\ntR.", bytes(MAX_BYTES + 1)]
)
def test_what_is_no_message_is_refused(data):
    assert refusal(data) == "identity_malformed"


INF = float("inf")
TOKENS = 2 * 8 * 4


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [3, 8], "tokens": bytes(3 * 8 * 4)},  # no whole selfies
        {"shape": [0, 8], "tokens": b""},
        {"shape": [-2, 8]},
        {"shape": [18, 8], "tokens": bytes(18 * 8 * 4)},  # nine selfies
        {"shape": [2, 9], "tokens": bytes(2 * 9 * 4)},
        {"shape": [2, 2**62]},
        {"tokens": bytes(TOKENS - 1)},
        {"tokens": bytes(TOKENS + 4)},
        {"tokens": b"\xff" * TOKENS},  # not a number
        {"tokens": np.full(16, INF, np.float32).tobytes()},
        {"dtype": "float64"},
        {"dtype": "bfloat16"},
        {"pose": None},
        {"pose": [[[0, 0]] * 4, [0, 0, 9, 9], [64, 64]]},
        {"pose": [[[0, 0]] * 5, [0, 0, 9, 9], [0, 64]]},
        {"pose": [[[0, 0]] * 5, [0, 0, 9, 9], [10**9, 64]]},
        {"pose": [[[0, 0]] * 5, [9, 9, 0, 0], [64, 64]]},
        {"pose": [[[0, 0]] * 4 + [[0, 1e6]], [0, 0, 9, 9], [64, 64]]},
        {"pose": [[[0, 0]] * 4 + [[0, INF]], [0, 0, 9, 9], [64, 64]]},
        {"stands": [[[0, 0]] * 5, [0, 0, INF, 9], [64, 64]]},
        {"stands": 5},
        {"adapter": 5},
    ],
)
def test_absurd_contents_are_refused_although_they_were_sealed(changes):
    assert refusal(harmed(pack(kept(), SomeAdapter(), REVISION), **changes)) == "identity_malformed"


def test_one_vector_for_all_selfies_is_one_vector():
    adapter = SomeAdapter(one_for_all=True)
    assert refusal(pack(kept(4), adapter, REVISION), adapter) == "identity_malformed"


def test_a_refusal_quotes_no_more_than_a_name():
    data = harmed(pack(kept(), SomeAdapter(), REVISION), adapter="x" * 5000)
    with pytest.raises(IdentityRefused) as caught:
        unpack(data, SomeAdapter(), REVISION)
    assert len(str(caught.value)) < 300
