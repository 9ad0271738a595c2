"""A contact sheet: people whom nothing was trained on beside what the service makes of their selfies."""

from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np

from scripts.studio import StudioOrder, open_studio
from scripts.train_tiny.judging.people import draw_sitter

SEED = 7
PROMPTS = (
    "portrait photo of a person wearing a navy suit, plain grey studio background, soft light",
    "portrait photo of a person wearing a white shirt, office background, soft light",
    "portrait photo of a person wearing a green jacket, park background, natural light",
    "black and white portrait photo of a person wearing a black turtleneck, plain grey studio background",
    "portrait photo of a person wearing a yellow hoodie, beach background, comic",
    "cinematic portrait photo of a person wearing a red dress, city at night",
)
CELL = 160


def contact_sheet(bundle: Path, target: Path, *, people: int = 10, adapter: str | None = None) -> None:
    """A PNG: each row a selfie, the portraits of PROMPTS, and last the first prompt at strength 0: nobody."""
    studio = open_studio(bundle)
    rows = []
    drawn = (draw_sitter(SEED, i * 7, studio.accepts) for i in count())  # 7: tones far apart come one by one
    for index, sitter in enumerate(islice((sitter for sitter in drawn if sitter.accepted), people)):
        selfie = sitter.selfie.pixels
        orders = [StudioOrder(selfies=(selfie,), prompt=prompt, seed=index, adapter=adapter) for prompt in PROMPTS]
        nobody = StudioOrder(selfies=(selfie,), prompt=PROMPTS[0], seed=index, adapter=adapter, strength=0.0)
        cells = [selfie, *studio.shoot([*orders, nobody])]
        rows.append(np.hstack([cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in cells]))
    target.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(target), np.vstack(rows)[:, :, ::-1])
