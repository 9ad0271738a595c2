"""What 8-bit products cost in quality: python scripts/measure_fp8.py [--n 16] [--large 0]

Draws `n` people whom nothing was trained on and makes the same pictures of them twice with the embedded bundle: as it
is, and with the UNet's large products in 8 bits, computed here with the arithmetic that a GPU has (models/sdxl/fp8.py).
With --large 0, every feed-forward and fused projection is replaced: more than at full size, where small ones stay as
they are. A table is printed, and one JSON object as the last line.

psnr_db    of the two pictures, of each person: mean and least
likeness   cosine of the likeness judge between the two: mean and least
own        the judge's cosine to the person's second selfie, which the engine never sees, before and after
"""

import json
import math
import os
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from models.worker.openmp import openmp_environment

os.environ.update(openmp_environment(os.environ))  # as the front starts its workers; read when torch is loaded

import numpy as np

from models.faces.face import Rgb
from models.sdxl.fp8 import use_fp8
from scripts.measure_finals import FinalsComparison
from scripts.studio import open_studio
from scripts.train_tiny.judging.people import draw_sitter


def psnr(one: Rgb, other: Rgb) -> float:
    """In dB; infinite for equal pictures."""
    error = float(((one.astype(np.float32) - other) ** 2).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


@click.command(help=(__doc__ or "").partition("\n\npsnr_db")[0])
@click.option("--n", default=16, show_default=True, help="People.")
@click.option("--seed", default=20262, show_default=True, help="Of the people and what they order.")
@click.option("--adapter", help="Of those in the bundle; left out, its default.")
@click.option("--large", default=0, show_default=True, help="Weights that a product has at least to be replaced.")
def main(n: int, seed: int, adapter: str | None, large: int) -> None:
    studio = open_studio()
    compared = FinalsComparison(studio, [draw_sitter(seed, index, lambda _: True) for index in range(n)], adapter)
    replaced = [use_fp8(unet, large=large) for unet in studio.unets]
    pictures = compared.previews_again()
    agreement = compared.agreement(pictures)
    apart = [psnr(one, other) for one, other in zip(pictures, compared.previews, strict=True)]
    result = {
        "adapter": adapter or studio.adapters[0],
        "n": n,
        "replaced": len(replaced[0]),
        "psnr_db": round(float(np.mean(apart)), 2),
        "least_psnr_db": round(min(apart), 2),
        "likeness": round(float(agreement.likeness.mean()), 4),
        "least_likeness": round(float(agreement.likeness.min()), 4),
        "own_before": round(compared.own_of_previews, 4),
        "own_after": round(float(agreement.own.mean()), 4),
    }
    for name, value in result.items():
        print(f"{name:16}{value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
