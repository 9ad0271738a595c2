"""What looking for NaN and infinity costs a start (models/engine/finite.py), in seconds for a gigabyte of weights.

    python scripts/measure_finite.py [--megabytes 256] [--threads 1]

Random tensors of a linear layer's size, by dtype; the least of five looks. A table, and one JSON object as the last
line.
"""

import json
import time

import click
import torch

from models.engine.finite import first_not_finite

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPE = (1280, 1280)  # of an attention's projection in SDXL
LOOKS = 5


@click.command()
@click.option("--megabytes", default=256, show_default=True)
@click.option("--threads", default=1, show_default=True)
def main(megabytes: int, threads: int) -> None:
    torch.set_num_threads(threads)
    figures = {str(dtype).removeprefix("torch."): round(seconds_a_gigabyte(dtype, megabytes), 3) for dtype in DTYPES}
    for name, seconds in figures.items():
        print(f"{name:>10}  {seconds:.3f} s a GB")
    print(json.dumps({"seconds_per_gb": figures, "threads": threads}))


def seconds_a_gigabyte(dtype: torch.dtype, megabytes: int) -> float:
    tensor_bytes = SHAPE[0] * SHAPE[1] * dtype.itemsize
    count = max(1, megabytes * 1_000_000 // tensor_bytes)
    tensors = {str(index): torch.randn(SHAPE).to(dtype) for index in range(count)}
    return min(_look(tensors) for _ in range(LOOKS)) / (count * tensor_bytes) * 1e9


def _look(tensors: dict[str, torch.Tensor]) -> float:
    began = time.perf_counter()
    assert first_not_finite(tensors) is None
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
