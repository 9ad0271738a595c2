"""torch.compile for our networks: the repeated blocks once for all sizes, or a whole call for every shape."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.fx.experimental._config
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

from models.engine.runners import Call

# Two widths, one row or several, with and without a picture's tokens, UNet and ControlNet; a whole call has every
# bucket and size. At torch's own limit of 8 the rest would silently run eager.
VARIANTS = 256

Compiler = Callable[..., Any]  # as torch.compile is called

# What torch.compile writes for a CPU is C++; what Triton starts its kernels with is C, a module of Python's.
COMPILERS = {"cpu": ("CXX", ("g++", "clang++")), "cuda": ("CC", ("gcc", "clang"))}


class CompilerMissing(Exception):
    """torch.compile was asked for, and can't work here. The text is for the operator."""


def check_compiler(device: torch.device) -> None:
    """Raises CompilerMissing at once, and not with the first compiled call, which comes after all weights are read."""
    variable, usual = COMPILERS.get(device.type, COMPILERS["cuda"])
    named = os.environ.get(variable)
    if not any(shutil.which(name) for name in ([named] if named else usual)):
        names = f"{named}, which {variable} names," if named else " or ".join(usual)
        raise CompilerMissing(
            f"--compile needs a compiler, and {names} is not on PATH: install it (the container image takes "
            '--build-arg PACKAGES="gcc libc6-dev python3-dev"), or leave out --compile'
        )
    if device.type == "cuda" and not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise CompilerMissing(
            "--compile needs Python's headers, and Python.h is not there: install the package python3-dev, or leave "
            "out --compile"
        )


def compile_blocks(net: nn.Module, compiler: Compiler = torch.compile) -> int:
    """Compile the transformer blocks, which all share one program; how many there are.

    Sizes and batches are left open: one program serves them all, but for single rows, which torch takes for a case of
    their own. A block's hook, which takes its own columns of the keys and values, stays outside, or every block would
    be another program.
    """
    _allow_variants()
    blocks = [module for module in net.modules() if isinstance(module, BasicTransformerBlock)]
    for block in blocks:
        block.forward = compiler(block.forward, dynamic=True)
    return len(blocks)


def compiled(call: Call, compiler: Compiler = torch.compile) -> Call:
    """The whole call, a program for every shape."""
    _allow_variants()
    return compiler(call, dynamic=False)


def _allow_variants() -> None:
    """Process-wide, as compiling is. Without duck shapes two rows are not taken for the two of keys and values."""
    torch.fx.experimental._config.use_duck_shape = False
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, VARIANTS)
    torch._dynamo.config.accumulated_recompile_limit = max(
        torch._dynamo.config.accumulated_recompile_limit, 4 * VARIANTS
    )
