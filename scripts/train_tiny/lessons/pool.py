"""All shards that are on disk by now, in memory, to draw people from."""

from pathlib import Path

import numpy as np

from scripts.train_tiny.drawing.shards import Shard, read_shard, shard_paths

LOOK_EVERY = 400  # draws between two looks for new shards


class Pool:
    """Grows while a renderer writes. Belongs to one training loop."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self._folder = folder
        self._rng = rng
        self._shards: dict[Path, Shard] = {}
        self._draws = 0
        self._look()

    def people(self, number: int) -> list[tuple[Shard, int]]:
        """Different people, most likely; each a shard and an index in it."""
        self._draws += number
        if self._draws > LOOK_EVERY:
            self._draws = 0
            self._look()
        shards = list(self._shards.values())
        chosen = [shards[i] for i in self._rng.integers(len(shards), size=number)]
        return [(shard, int(self._rng.integers(len(shard)))) for shard in chosen]

    def shard(self, name: str) -> Shard:
        """One that is there. Raises KeyError for any other."""
        return self._shards[self._folder / f"{name}.npz"]

    def __len__(self) -> int:
        return sum(len(shard) for shard in self._shards.values())

    def _look(self) -> None:
        for path in shard_paths(self._folder):
            if path not in self._shards:
                self._shards[path] = read_shard(path)
        if not self._shards:
            raise FileNotFoundError(f"no shards in {self._folder}: run the render stage first")
