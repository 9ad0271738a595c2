"""How much of a person survives, in numbers: retrieval among held-out people, and drawn factors read off portraits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from scripts.train_tiny.contact import PROMPTS, first_shard, prompt_for
from scripts.train_tiny.identity import CATEGORIES
from scripts.train_tiny.onnx_export import trained_heads
from scripts.train_tiny.sample import load_sampler


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares and cosines. Judged by the same recogniser that conditions the pictures: circular, so an upper bound."""

    people: int
    top1: float  # of `people`: a portrait's nearest selfie is its own person's
    top5: float
    top1_of_selfies: float  # the same for a second selfie: the best that this recogniser can do
    cosine_same: float
    cosine_other: float
    factors: dict[str, float]  # share of portraits on which a drawn factor is read as it is ...
    factors_of_selfies: dict[str, float]  # ... and of selfies


def score(bundle: Path, heldout: Path, checkpoints: Path, *, people: int = 64, steps: int = 4) -> Scores:
    sampler, shard = load_sampler(bundle), first_shard(heldout)
    gallery, second, made = [], [], []
    for index in range(people):
        selfie, marks = shard.selfie(index, 0), shard.selfie_landmarks[index]
        tokens = sampler.identity(selfie, marks[0])
        prompt = prompt_for(shard, index, PROMPTS[index % 4])
        portrait = sampler.portrait(tokens, prompt, seed=index, steps=steps)
        gallery.append(sampler.embedding(selfie, marks[0]))
        second.append(sampler.embedding(shard.selfie(index, 1), marks[1]))
        made.append(sampler.embedding(portrait, shard.portrait_landmarks[index, 0]))
    cosines, copies = _unit(made) @ _unit(gallery).T, _unit(second) @ _unit(gallery).T  # [people, people]
    own = np.diag(cosines)
    ranks = (cosines > own[:, None]).sum(axis=1)
    return Scores(
        people=people,
        top1=float((ranks == 0).mean()),
        top5=float((ranks < 5).mean()),
        top1_of_selfies=float((copies.argmax(axis=1) == np.arange(people)).mean()),
        cosine_same=float(own.mean()),
        cosine_other=float(cosines[~np.eye(people, dtype=bool)].mean()),
        factors=_factors(made, shard.categories[:people], checkpoints),
        factors_of_selfies=_factors(gallery, shard.categories[:people], checkpoints),
    )


@torch.no_grad()
def _factors(embeddings: list[np.ndarray], classes: np.ndarray, checkpoints: Path) -> dict[str, float]:
    logits, _ = trained_heads(checkpoints)(torch.from_numpy(np.stack(embeddings)))
    read = np.stack([logit.argmax(dim=1).numpy() for logit in logits], axis=1)
    return dict(zip(CATEGORIES, (read == classes).mean(axis=0).round(2).tolist(), strict=True))


def _unit(vectors: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(vectors)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
