"""torch.compile for our networks: the repeated blocks once for all sizes, or a whole call for every shape."""

from collections.abc import Callable
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
