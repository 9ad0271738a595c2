"""Compiled networks, with dynamo's own eager backend: what is traced, how often, and that nothing changes."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn.attention import SDPBackend

from models.bundle.modules import EXACT
from models.sdxl.compiling import CompilerMissing, check_compiler, compile_blocks, compiled
from models.sdxl.denoiser import Denoiser
from models.sdxl.kernels import Kernel, _preferring, use_kernel
from scripts.golden.instantid import InstantIDFolder
from tests.models.conftest import GOLDEN_INSTANTID
from tests.models.sdxl.rows import call, conditioning_of, mates


class CountingBackend:
    """Runs what it is given as it is, and counts the programs."""

    def __init__(self):
        self.programs = 0

    def __call__(self, graph, _):
        self.programs += 1
        return graph.forward


@pytest.fixture
def backend():
    torch._dynamo.reset()
    yield CountingBackend()
    torch._dynamo.reset()


@pytest.fixture
def parts():
    folder = InstantIDFolder(GOLDEN_INSTANTID, EXACT)
    adapter, denoiser, *_ = folder.parts
    return denoiser, conditioning_of(folder, adapter)


def test_blocks_of_one_width_share_a_program_whatever_batch_and_size(parts, backend):
    denoiser, conditioning = parts
    unet = denoiser.modules()[0]
    expected = [call(denoiser, mates(conditioning) * n) for n in (1, 2)]  # two and four rows
    blocks = compile_blocks(unet, partial(torch.compile, backend=backend))
    widths = {
        tuple(block.norm1.normalized_shape)
        for block in unet.modules()
        if hasattr(block, "norm1") and hasattr(block, "attn2")
    }
    torch._dynamo.utils.counters.clear()
    for n, wanted in zip((1, 2), expected, strict=True):
        assert torch.allclose(call(denoiser, mates(conditioning) * n), wanted, atol=1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert blocks > backend.programs
    assert backend.programs == len(widths)


def test_a_chosen_kernel_is_no_break_in_a_program(parts, backend):
    denoiser, conditioning = parts
    unet = denoiser.modules()[0]
    use_kernel(unet, Kernel("math", _preferring(SDPBackend.MATH)))
    wanted = call(denoiser, [conditioning] * 2)
    compile_blocks(unet, partial(torch.compile, backend=backend))
    torch._dynamo.utils.counters.clear()
    assert torch.allclose(call(denoiser, [conditioning] * 2), wanted, atol=1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_whole_network_is_one_program(parts, backend):
    denoiser, conditioning = parts
    alone = [replace(conditioning, image=None, controls=())]
    expected = call(denoiser, alone)

    def make(forward, modules):
        return Only(compiled(forward, partial(torch.compile, backend=backend)))

    whole = Denoiser(denoiser.modules()[0], make_runner=make)
    torch._dynamo.utils.counters.clear()
    for _ in range(2):
        assert torch.allclose(call(whole, alone), expected, atol=1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]
    assert backend.programs == 1


class Only:
    """A runner that makes every call in the same way."""

    num_recordings = 0

    def __init__(self, call):
        self._call = call

    def __call__(self, inputs):
        return self._call(inputs)


@pytest.mark.parametrize(
    ("device", "variable", "named"),
    [("cpu", "CXX", None), ("cuda", "CC", None), ("cpu", "CXX", "my-c++"), ("cuda", "CC", "nowhere/cc")],
)
def test_without_a_compiler_a_start_is_refused_with_what_is_missing(monkeypatch, tmp_path, device, variable, named):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(variable, raising=False)
    if named is not None:
        monkeypatch.setenv(variable, named)
    with pytest.raises(CompilerMissing, match="install it") as refused:
        check_compiler(torch.device(device))
    assert (named or {"cpu": "g++", "cuda": "gcc"}[device]) in str(refused.value)


@pytest.mark.parametrize(("device", "compiler"), [("cpu", "g++"), ("cpu", "clang++"), ("cuda", "gcc")])
def test_with_a_compiler_only_the_headers_can_be_missing(monkeypatch, tmp_path, device, compiler):
    path = tmp_path / compiler
    path.write_text("#!/bin/sh\n")
    path.chmod(0o700)
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    if device == "cuda":
        with pytest.raises(CompilerMissing, match=r"Python\.h"):
            check_compiler(torch.device(device))
    (tmp_path / "Python.h").touch()
    check_compiler(torch.device(device))
