"""The numbers that networks are taught in: half as long where the processor multiplies such numbers, else not."""

from functools import cache

import torch


def short_numbers() -> torch.autocast:
    """bfloat16 inside, if it pays.

    With AVX-512's or AMX's instructions for it convolutions take less than half the time. Without them torch imitates
    it: a step of `sharper` took ten times as long as in float32 (6.3 s, 0.65; AMD EPYC with AVX2 alone).
    """
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_short_numbers())


@cache
def has_short_numbers() -> bool:
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16") or abilities.get("sve_bf16"))
