"""A profile as a table: each file with its size and terms, and what is still to come."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from models.weights.manifest import WeightFile

HEAD = ("file", "size", "licence", "commercial", "")


def listing(files: Sequence[WeightFile], root: Path | None) -> Iterator[str]:
    """Lines for a terminal. Presence and size are looked at, hashes are not: a dry run takes no time."""
    rows = [HEAD, *((file.path, _size(file), file.licence, file.commercial, _state(file, root)) for file in files)]
    path, size, licence, commercial = (max(len(row[column]) for row in rows) for column in range(4))
    for row in rows:
        yield f"{row[0]:{path}}  {row[1]:>{size}}  {row[2]:{licence}}  {row[3]:{commercial}}  {row[4]}".rstrip()
    yield ""
    yield f"total: {len(files)} files, {total(files)}"
    if root is not None:
        wanted = [file for file in files if _state(file, root) != "here"]
        yield f"to fetch into {root}: {len(wanted)} files, {total(wanted)}"
    for note in dict.fromkeys(file.note for file in files if file.commercial == "no"):
        barred = [file for file in files if file.note == note]
        yield f"not for commercial use: {', '.join(file.path for file in barred)}: {note}"


def total(files: Iterable[WeightFile]) -> str:
    """Those of no recorded size are configurations and vocabularies; all of them together are under 5 MB."""
    files = list(files)
    exact = all(file.size is not None for file in files)
    return ("" if exact else "about ") + human(sum(about_bytes(file) for file in files))


def about_bytes(file: WeightFile) -> int:
    """0 where neither a size nor a rounded one is on record."""
    return file.size or file.about_bytes or 0


def human(count: int) -> str:
    """1.39 GB, 246 MB, 0.23 MB: decimal, as publishers write it."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 10_000_000 else f"{count / 1e6:.2f} MB"


def _size(file: WeightFile) -> str:
    if file.size is not None:
        return human(file.size)
    return f"~{human(file.about_bytes)}" if file.about_bytes else "small"


def _state(file: WeightFile, root: Path | None) -> str:
    if root is None:
        return ""
    path = root / file.path
    if not path.is_file():
        return "to fetch"
    return "here" if file.size in (None, path.stat().st_size) else "incomplete or altered"
