"""The one attention of every UNet and ControlNet here: the text's, and beside it what a row's pictures bring.

Decoupled cross-attention (IP-Adapter, arXiv 2308.06721; InstantID, 2401.07519):

    out = softmax(q k_text) v_text + weight * softmax(q k_image) v_image

The image's keys and values don't depend on the step, so they come with the call, projected beforehand, together with
each row's weight. Nothing is stored on the UNet: rows with and without an image, at any strength, share one call. A
ControlNet gets all that its cross-attention reads in this way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from models.sdxl.region import Region

Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # q, k, v [B, heads, N or T, d], mask -> as q

_REGION = "image.region."


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """torch's own choice of a kernel."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


@dataclass(frozen=True, slots=True)
class ImagePrompt:
    """One row's image side: keys and values of T tokens for all cross-attention layers, side by side.

    `scale` multiplies what is read from them; `region` keeps it to a part of the picture.
    """

    keys_values: Tensor  # [T, 2, W]
    scale: float
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """The image sides of one call's rows, stacked."""

    keys_values: Tensor  # [B, T, 2, W]
    scale: Tensor  # [B, 1, 1]; 0 for a row without
    regions: Mapping[int, Tensor]  # latent tokens of a layer, N -> [B, N, 1]; empty if no row has a region
    mask: Tensor | None  # [B, 1, 1, T], added to the logits; only if rows have different numbers of tokens

    def tensors(self) -> dict[str, Tensor]:
        """By names that `image_batch` knows."""
        named = {"image.keys_values": self.keys_values, "image.scale": self.scale}
        named |= {f"{_REGION}{size}": region for size, region in self.regions.items()}
        return named if self.mask is None else named | {"image.mask": self.mask}

    def of(self, slot: slice) -> "ImageBatch":
        """With the keys and values of one layer alone."""
        return replace(self, keys_values=self.keys_values[..., slot])

    def weight(self, num_tokens: int) -> Tensor:
        return self.scale * self.regions[num_tokens] if self.regions else self.scale


def image_batch(tensors: Mapping[str, Tensor]) -> ImageBatch | None:
    """The mirror of `ImageBatch.tensors`, out of all tensors of a call."""
    if "image.scale" not in tensors:
        return None
    return ImageBatch(
        keys_values=tensors["image.keys_values"],
        scale=tensors["image.scale"],
        regions={int(name.removeprefix(_REGION)): t for name, t in tensors.items() if name.startswith(_REGION)},
        mask=tensors.get("image.mask"),
    )


def stack_images(images: Sequence[ImagePrompt | None]) -> ImageBatch | None:
    """None if no row has one. Rows with fewer tokens are filled up with tokens that nobody looks at."""
    present = [image for image in images if image is not None]
    if not present:
        return None
    like = present[0].keys_values
    longest = max(len(image.keys_values) for image in present)
    keys_values = like.new_zeros(len(images), longest, *like.shape[1:])
    lengths = []
    for row, image in enumerate(images):
        if image is not None:
            keys_values[row, : len(image.keys_values)] = image.keys_values
        lengths.append(longest if image is None else len(image.keys_values))
    scales = [0.0 if image is None else image.scale for image in images]
    return ImageBatch(
        keys_values=keys_values,
        scale=torch.tensor(scales, device=like.device, dtype=like.dtype)[:, None, None],
        regions=_stack_regions(images, like),
        mask=None if min(lengths) == longest else _padding_mask(lengths, like),
    )


class DecoupledAttention:
    """The attention processor of one layer; a self-attention is only the first half of the sum.

    Covers what SDXL's layers use: no spatial or group norm, no residual, no rescaling. Keeps nothing of a call. All
    layers are alike to a compiler: which columns are a layer's own is settled outside, by its block (`_narrowed`).
    """

    def __init__(self, *, is_cross: bool, fused: nn.Module | None = None) -> None:
        """`fused` makes queries, keys and values side by side, for a self-attention."""
        self._is_cross = is_cross
        self.fused = fused
        self.attend: Attend = attend

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image: ImageBatch | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """[B, N, C] -> [B, N, C]. The first four parameters are diffusers'; `context` [B, T, 2, w] replaces the text
        by keys and values made beforehand. It and the image's are this layer's own."""
        assert attn.to_out is not None
        if self.fused is not None:
            query, key, value = (_heads(x, attn.heads) for x in self.fused(hidden_states).chunk(3, dim=-1))
        else:
            query = _heads(attn.to_q(hidden_states), attn.heads)
            if context is not None and self._is_cross:
                key, value = _unpacked(context, attn.heads)
            else:
                key, value = _project(attn, hidden_states if encoder_hidden_states is None else encoder_hidden_states)
        out = _joined(self.attend(query, key, value, attention_mask))
        if image is not None and self._is_cross:
            key, value = _unpacked(image.keys_values, attn.heads)
            seen = _joined(self.attend(query, key, value, image.mask))
            out = out + image.weight(out.shape[1]) * seen
        projection, dropout = attn.to_out
        return dropout(projection(out))


class FusedProjection(nn.Module):
    """Queries, keys and values of one self-attention in one matrix product, with the layer's own weights."""

    def __init__(self, weight: Tensor) -> None:
        """`weight` [3C, C]: the three on top of each other."""
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get_buffer("weight"))


def keys_values_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """What `model`'s own cross-attention layers make of a context [T, D], side by side: [T, 2, W]."""
    keys, values = zip(*(_flat(layer, tokens) for _, layer, _ in cross_attention_slots(model)), strict=True)
    return torch.stack([torch.cat(keys, dim=-1), torch.cat(values, dim=-1)], dim=1)


def install_attention(unet: nn.Module, *, fuse: bool = True) -> None:
    """When the UNet is built; again does no harm. Without image prompts it computes what it did.

    With `fuse` the weights of each self-attention move together, so that one matrix product makes queries, keys and
    values. They keep their names and may be overwritten, but gradients don't reach them that way.
    """
    for name, layer, slot in cross_attention_slots(unet):
        if isinstance(layer.processor, DecoupledAttention):
            continue  # installed before
        layer.set_processor(DecoupledAttention(is_cross=True))  # pyright: ignore[reportArgumentType] - a closed union
        block = unet.get_submodule(name.rpartition(".")[0])
        block.register_forward_pre_hook(_narrowed(slot), with_kwargs=True)
    for _, layer in attention_layers(unet):
        if not layer.is_cross_attention:
            fused = FusedProjection(_moved_together(layer)) if fuse else None
            layer.set_processor(DecoupledAttention(is_cross=False, fused=fused))  # pyright: ignore[reportArgumentType]


def processors(unet: nn.Module) -> Iterator[tuple[Attention, DecoupledAttention]]:
    """Those that `install_attention` has put into each layer."""
    for _, layer in attention_layers(unet):
        processor: Any = layer.processor
        yield layer, processor


def attention_layers(unet: nn.Module) -> Iterator[tuple[str, Attention]]:
    """In diffusers' order of registration: down blocks, up blocks, the middle last. Published files count so."""
    return ((name, module) for name, module in unet.named_modules() if isinstance(module, Attention))


def cross_attention_slots(unet: nn.Module) -> Iterator[tuple[str, Attention, slice]]:
    """Each cross-attention layer and its place among the W columns of `ImagePrompt.keys_values`."""
    start = 0
    for name, layer in attention_layers(unet):
        if layer.is_cross_attention:
            yield name, layer, slice(start, start + layer.inner_kv_dim)
            start += layer.inner_kv_dim


def _narrowed(slot: slice) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """What a transformer block does before its work: of all layers' keys and values it takes its own layer's."""

    def narrow(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        wide = kwargs.get("cross_attention_kwargs") or {}
        own = {"image": image.of(slot)} if (image := wide.get("image")) is not None else {}
        own |= {"context": context[..., slot]} if (context := wide.get("context")) is not None else {}
        return args, kwargs | {"cross_attention_kwargs": wide | own}

    return narrow


def _moved_together(attn: Attention) -> Tensor:
    """[3C, C]; the layer's own three weights become views of it."""
    layers = [layer for layer in (attn.to_q, attn.to_k, attn.to_v) if layer is not None]
    fused = torch.cat([layer.weight.detach() for layer in layers])
    for layer, part in zip(layers, fused.chunk(3), strict=True):
        assert layer.bias is None, "SDXL's projections have no bias"
        layer.weight.data = part
    return fused


def _flat(attn: Attention, context: Tensor) -> tuple[Tensor, Tensor]:
    assert attn.to_k, "a layer without keys of its own is none of SDXL's"
    assert attn.to_v
    return attn.to_k(context), attn.to_v(context)


def _project(attn: Attention, context: Tensor) -> tuple[Tensor, Tensor]:
    key, value = _flat(attn, context)
    return _heads(key, attn.heads), _heads(value, attn.heads)


def _unpacked(keys_values: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """[B, T, 2, w] -> [B, heads, T, d] each."""
    key, value = keys_values.unbind(2)
    return _heads(key, heads), _heads(value, heads)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, heads, N, d]


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)  # [B, N, C]


def _stack_regions(images: Sequence[ImagePrompt | None], like: Tensor) -> dict[int, Tensor]:
    regions = [None if image is None else image.region for image in images]
    known = next((region for region in regions if region is not None), None)
    if known is None:
        return {}
    return {
        size: torch.stack([like.new_ones(size, 1) if r is None else r.tokens[size].to(like.dtype) for r in regions])
        for size in known.tokens
    }


def _padding_mask(lengths: Sequence[int], like: Tensor) -> Tensor:
    places = torch.arange(max(lengths), device=like.device)
    beyond = places >= torch.tensor(lengths, device=like.device)[:, None]  # [B, T]
    return torch.zeros_like(beyond, dtype=like.dtype).masked_fill(beyond, float("-inf"))[:, None, None]
