"""The resampler that the whole family shares: a few queries read an embedding or an image, whatever its length.

Parameter names are those of the published checkpoints (PhotoMaker v2, InstantID, IP-Adapter plus), so state dicts load
as they are. Source: IP-Adapter's Resampler (arXiv 2308.06721), after Perceiver (arXiv 2103.03206).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PUBLISHED_HEAD_WIDTH = 64  # no shape of a checkpoint tells it


@dataclass(frozen=True, slots=True, kw_only=True)
class ResamplerShape:
    width: int
    context_width: int
    out_width: int
    depth: int
    heads: int
    dim_head: int
    ff_mult: int


class PerceiverAttention(nn.Module):
    """Latents attend to the context and to themselves."""

    def __init__(self, width: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, heads * dim_head, bias=False)
        self.to_kv = nn.Linear(width, 2 * heads * dim_head, bias=False)
        self.to_out = nn.Linear(heads * dim_head, width, bias=False)

    def forward(self, context: Tensor, latents: Tensor) -> Tensor:
        """context [N, T, W], latents [N, k, W] -> [N, k, W]."""
        latents = self.norm2(latents)
        keys, values = self.to_kv(torch.cat([self.norm1(context), latents], dim=1)).chunk(2, dim=-1)
        query, keys, values = (self._split_heads(x) for x in (self.to_q(latents), keys, values))
        attended = F.scaled_dot_product_attention(query, keys, values)  # [N, heads, k, dim_head]
        return self.to_out(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class PerceiverResampler(nn.Module):
    def __init__(self, shape: ResamplerShape) -> None:
        super().__init__()
        self.proj_in = nn.Linear(shape.context_width, shape.width)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PerceiverAttention(shape.width, shape.heads, shape.dim_head),
                    _feed_forward(shape.width, shape.ff_mult),
                ]
            )
            for _ in range(shape.depth)
        )
        self.proj_out = nn.Linear(shape.width, shape.out_width)
        self.norm_out = nn.LayerNorm(shape.out_width)

    def forward(self, latents: Tensor, context: Tensor) -> Tensor:
        """latents [N, k, width], context [N, T, context_width] -> [N, k, out_width]."""
        context = self.proj_in(context)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = latents + attention(context, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


class QueryResampler(PerceiverResampler):
    """With queries of its own, learned: InstantID's (over a face embedding) and IP-Adapter plus's (over an image)."""

    def __init__(self, shape: ResamplerShape, num_queries: int) -> None:
        super().__init__(shape)
        self.latents = nn.Parameter(torch.empty(1, num_queries, shape.width))

    def tokens(self, context: Tensor) -> Tensor:
        """[N, T, context_width] -> [N, num_queries, out_width]."""
        return self(self.latents.expand(len(context), -1, -1), context)


def load_query_resampler(state: Mapping[str, Tensor], *, dim_head: int = _PUBLISHED_HEAD_WIDTH) -> QueryResampler:
    """All sizes are read off the shapes. Raises KeyError or RuntimeError naming missing and unexpected keys."""
    _, num_queries, width = state["latents"].shape
    shape = ResamplerShape(
        width=width,
        context_width=state["proj_in.weight"].shape[1],
        out_width=state["proj_out.weight"].shape[0],
        depth=1 + max(int(key.split(".")[1]) for key in state if key.startswith("layers.")),
        heads=state["layers.0.0.to_q.weight"].shape[0] // dim_head,
        dim_head=dim_head,
        ff_mult=state["layers.0.1.1.weight"].shape[0] // width,
    )
    with torch.device("meta"):
        resampler = QueryResampler(shape, num_queries)
    resampler.load_state_dict(dict(state), assign=True)
    return resampler.eval().requires_grad_(False)


def _feed_forward(width: int, mult: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, mult * width, bias=False),
        nn.GELU(),
        nn.Linear(mult * width, width, bias=False),
    )
