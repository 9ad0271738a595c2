"""Manifests and bundles that say only what they add: `extends`, at the top of a manifest and in a bundle.

A manifest extends "builtin", which is ours. Its bundle has the keys of the one that it extends, or else of ours of the
same name, where it has none of its own; a key that both have, such as a list of LoRAs, is the operator's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.weights.errors import WeightsError

KEY = "extends"
BUILT_IN = "builtin"
LISTS = ("repositories", "files", "include")  # whose entries are added to ours

Table = dict[str, Any]


def is_extension(path: Path, table: Mapping[str, Any]) -> bool:
    """Raises WeightsError for a manifest that extends another than ours."""
    extends = table.get(KEY)
    if extends not in (None, BUILT_IN):
        raise WeightsError(f'{path}: {KEY} = {extends!r}: wanted {KEY} = "{BUILT_IN}", or no such line')
    return extends is not None


def extended(path: Path, table: Mapping[str, Any], base: Table) -> Table:
    """The table over `base`, which is ours or empty. Raises WeightsError for a bundle that extends none there is."""
    bundles, own = dict(base.get("bundles", {})), table.get("bundles", {})
    rest = {key: value for key, value in table.items() if key != KEY}
    if not isinstance(own, dict):
        return rest  # whose reader says what is wrong with it
    for name, bundle in own.items():
        bundles[name] = _over(path, name, bundle, bundles) if isinstance(bundle, dict) else bundle
    added = {key: rest.get(key, []) for key in LISTS if key in base}
    lists = {key: [*base[key], *more] for key, more in added.items() if isinstance(more, list)}
    return base | rest | lists | ({"bundles": bundles} if bundles else {})


def _over(path: Path, name: str, bundle: Table, known: Mapping[str, Any]) -> Table:
    extends = bundle.get(KEY, name)
    if KEY in bundle and (not isinstance(extends, str) or extends not in known):
        there = ", ".join(sorted(known)) or f'none: write {KEY} = "{BUILT_IN}" as the first line for ours'
        raise WeightsError(f"{path}: bundle {name!r} extends {extends!r}; before it there are {there}")
    return known.get(extends, {}) | {key: value for key, value in bundle.items() if key != KEY}
