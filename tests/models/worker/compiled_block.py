"""One transformer block of a small UNet through the service's own compiling, with torch's real compiler, in two starts:
`python -m tests.models.worker.compiled_block FOLDER` prints a line for each: what it computed, compiled and found in
FOLDER's cache. A start is a process of its own, whose compiler remembers nothing else; they are forked, because what
they import takes as long to load as the block to compile."""

import json
import os
import sys
from pathlib import Path

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch._dynamo.utils import counters

from models.sdxl.attention import cross_attention_slots, install_attention
from models.sdxl.compiling import compile_blocks
from models.sdxl.speed import Speed
from models.worker.compile_cache import CompileCache, key_of
from scripts.gpu.shapes import TOY

ROWS, QUERIES, TOKENS = 2, 16, 7


def start(folder: Path) -> None:
    cache = CompileCache(folder, key_of(Speed(graphs=False, compile="blocks"), torch.device("cpu")))
    loaded = cache.load()
    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_config(TOY.unet).eval().requires_grad_(False)
    install_attention(unet)
    block = next(module for module in unet.modules() if isinstance(module, BasicTransformerBlock))
    width = max(slot.stop for *_, slot in cross_attention_slots(unet))
    hidden, context = torch.randn(ROWS, QUERIES, block.dim), torch.randn(ROWS, TOKENS, 2, width)
    with torch.inference_mode():
        plain = block(hidden, cross_attention_kwargs={"context": context})
        compile_blocks(unet)
        compiled = block(hidden, cross_attention_kwargs={"context": context})
    told = {
        "loaded": loaded,
        "apart": float((plain - compiled).abs().max()),
        "compiled": counters["inductor"]["fxgraph_cache_miss"],
        "found": counters["inductor"]["fxgraph_cache_hit"],
        "programs": counters["stats"]["unique_graphs"],
        "saved": cache.save(),
    }
    print(json.dumps(told), flush=True)


def main(folder: Path) -> None:
    for scratch in ("first", "second"):
        if (child := os.fork()) == 0:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder / scratch)
            start(folder / "cache")
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
