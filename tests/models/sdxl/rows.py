"""Rows for a denoiser with InstantID's nets, on small random weights."""

from dataclasses import replace

import torch

from models.adapters.adapter import Identity, Pose
from tests.models.scenes import scene_of

WIDTH, HEIGHT = 128, 192


def conditioning_of(folder, adapter):
    keypoints = folder.shared["in.kps"].numpy()
    pose = Pose(keypoints, (20.0, 40.0, 100.0, 150.0), (WIDTH, HEIGHT))
    embedding = torch.randn(1, 512, generator=torch.Generator().manual_seed(1))
    scene = scene_of(
        prompt="portrait photo of a man wearing a hat", negative_prompt="blurry", subject="man", width=WIDTH,
        height=HEIGHT, steps=4, strength=1.0, guidance=5.0, framing="selfie",
    )  # fmt: skip
    return adapter.condition(Identity(embedding, pose), scene)


def call(denoiser, rows, guidance=None, seed=1):
    noise = torch.randn(len(rows), 4, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(seed))
    scales = None if guidance is None else torch.full((len(rows),), guidance)
    return denoiser.predict(noise, torch.tensor([999, 499, 249, 99][: len(rows)]), [(row, 0) for row in rows], scales)


def mates(conditioning):
    """With a person and keypoints, and without."""
    return [conditioning, replace(conditioning, image=None, controls=())]
