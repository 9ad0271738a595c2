"""SDXL's two text encoders behind one call, cached by token ids.

Embeddings are the penultimate hidden states of both encoders side by side, pooled is the second's projection
(arXiv 2307.01952, section 2). Keyed by ids rather than text, so that adapters that edit ids share the cache.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from transformers import CLIPTokenizer

from models.sdxl.conditioning import Prompt
from models.sdxl.lora_choice import LoraApplier, LoraChoice, apply_lora
from models.wire.weighting import spans

CONTEXT_TOKENS = 77
TokenIds = tuple[tuple[int, ...], tuple[int, ...]]  # 77 ids for each of the two encoders
TokenWeights = tuple[float, ...]  # 77
_Wanted = tuple[LoraChoice | None, TokenIds]


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """The ids that frame a prompt. The two tokenizers differ in `pad` alone."""

    start: int
    end: int
    pad: int

    @classmethod
    def of(cls, tokenizer: CLIPTokenizer) -> "SpecialIds":
        ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
        return cls(*cast(tuple[int, int, int], ids))

    def padded(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Cut or filled up to the context length."""
        return (*ids[:CONTEXT_TOKENS], *[self.pad] * (CONTEXT_TOKENS - len(ids)))


class PromptTooLong(ValueError):
    """A prompt over SDXL's 77 tokens. Refused, not cut or chunked: what would be lost is for the caller to decide."""

    def __init__(self, value: int, limit: int) -> None:
        super().__init__(
            f"The prompt has {value} tokens and {limit} fit. Shorten it by about {value - limit} words; "
            "a long list of quality tags does little here."
        )
        self.value = value
        self.limit = limit


def weighted_ids(tokenizer: CLIPTokenizer, prompt: str) -> tuple[list[int], list[float]]:
    """The words' ids and weights, without what frames them. Raises PromptSyntaxError."""
    ids, weights = list[int](), list[float]()
    for span in spans(prompt):
        inside = tokenizer(span.text, add_special_tokens=False, verbose=False).input_ids
        ids += inside
        weights += [span.weight] * len(inside)
    return ids, weights


def framed_weights(words: Sequence[float]) -> TokenWeights:
    """Of a framed and padded prompt: start, end and padding count once."""
    inside = words[: CONTEXT_TOKENS - 2]
    return (1.0, *inside, *[1.0] * (CONTEXT_TOKENS - 1 - len(inside)))


class TextEncoders:
    """Both tokenizers and encoders. Safe to call from several threads: one lock guards the encoders and the cache."""

    def __init__(
        self,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        encoders: tuple[nn.Module, nn.Module],
        *,
        cache_prompts: int = 256,
        lora_applier: LoraApplier | None = None,
    ) -> None:
        self.tokenizers = tokenizers
        self._encoders = encoders
        self._lora_applier = lora_applier
        self._cache: OrderedDict[_Wanted, Prompt] = OrderedDict()
        self._cache_prompts = cache_prompts
        self._lock = threading.Lock()

    def modules(self) -> list[nn.Module]:
        return list(self._encoders)

    @property
    def device(self) -> torch.device:
        return next(self._encoders[0].parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self._encoders[0].parameters()).dtype

    def tokenize(self, prompt: str) -> TokenIds:
        """Raises PromptTooLong, or PromptSyntaxError for weights that can't be read."""
        first, second = (self._tokenize(tokenizer, prompt) for tokenizer in self.tokenizers)
        return first, second

    def weights(self, prompt: str) -> TokenWeights:
        """Of each token of `tokenize`, which the two encoders split alike."""
        _, weights = weighted_ids(self.tokenizers[0], prompt)
        return framed_weights(weights)

    def encode(self, wanted: Sequence[TokenIds], lora: LoraChoice | None = None) -> list[Prompt]:
        """One Prompt for each, in order; everything that isn't cached goes through the encoders in one batch."""
        with self._lock:
            missing = [ids for ids in dict.fromkeys(wanted) if (lora, ids) not in self._cache]
            fresh = dict(zip(missing, self._encode(missing, lora), strict=True)) if missing else {}
            prompts = [fresh[ids] if ids in fresh else self._touch((lora, ids)) for ids in wanted]
            self._remember({(lora, ids): prompt for ids, prompt in fresh.items()})
        return prompts

    def weigh(self, prompt: Prompt, weights: TokenWeights, lora: LoraChoice | None = None) -> Prompt:
        """`prompt` with each token's embedding that many times as far from the empty prompt's at its place.

        As ComfyUI does it (`encode_token_weights` in comfy/sd1_clip.py), and Compel for weights over 1; the pooled
        embedding stays. A prompt without weights is returned as it is.
        """
        if all(weight == 1 for weight in weights):
            return prompt
        [empty] = self.encode([self.tokenize("")], lora)
        scale = torch.tensor(weights, device=prompt.embeds.device)[:, None]
        weighed = empty.embeds.float() + (prompt.embeds.float() - empty.embeds.float()) * scale
        embeds = torch.where(scale == 1, prompt.embeds, weighed.to(prompt.embeds.dtype))
        return Prompt(embeds, prompt.pooled)

    @torch.inference_mode()
    def _encode(self, wanted: Sequence[TokenIds], lora: LoraChoice | None) -> list[Prompt]:
        apply_lora(self._lora_applier, lora)
        hidden = []
        pooled = None
        for which, encoder in enumerate(self._encoders):
            ids = torch.tensor([pair[which] for pair in wanted], device=self.device)
            output = encoder(ids, output_hidden_states=True)
            hidden.append(output.hidden_states[-2])
            pooled = getattr(output, "text_embeds", None)
        assert pooled is not None, "the second text encoder has no projection"
        embeds = torch.cat(hidden, dim=-1)  # [B, 77, D]
        return [Prompt(embeds[i], pooled[i]) for i in range(len(wanted))]

    def _tokenize(self, tokenizer: CLIPTokenizer, prompt: str) -> tuple[int, ...]:
        words, _ = weighted_ids(tokenizer, prompt)
        room = CONTEXT_TOKENS - 2
        if len(words) > room:
            raise PromptTooLong(len(words), room)
        special = SpecialIds.of(tokenizer)
        return special.padded([special.start, *words, special.end])

    def _touch(self, key: _Wanted) -> Prompt:
        self._cache.move_to_end(key)
        return self._cache[key]

    def _remember(self, fresh: dict[_Wanted, Prompt]) -> None:
        self._cache.update(fresh)
        while len(self._cache) > self._cache_prompts:
            self._cache.popitem(last=False)
