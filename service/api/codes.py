"""Every code that a refusal or a failure can have, by status, with what it means: `service/codes.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

Meanings = Mapping[str, str]  # by code


@cache
def codes() -> Mapping[str, Meanings]:
    """By status, as text, lowest first. The status is that of our own surface: Replicate's and Cog's tell an input
    that is wrong with 422, whichever of the 400s it has here."""
    return tomllib.loads(files("service").joinpath("codes.toml").read_text("utf-8"))
