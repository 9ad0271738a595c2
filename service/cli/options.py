"""Settings as options of a command, and how a command fails: with a sentence."""

import os
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import click

from service.settings import Settings, SettingsError, describe_setting, env_key, load_settings

F = TypeVar("F", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[F], F]:
    """One text option per setting; what is given goes through the same reading as the environment."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            sentence, default = describe_setting(name)
            text = f"{sentence}  [{env_key(name)}; default: {default}]"
            flag: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if default in ("True", "False") else {}
            function = click.option(f"--{name.replace('_', '-')}", name, metavar="VALUE", help=text, **flag)(function)
        return function

    return decorate


def read_settings(flags: dict[str, str | None]) -> Settings:
    try:
        return load_settings(os.environ, {name: text for name, text in flags.items() if text is not None})
    except SettingsError as error:
        fail(str(error))


def fail(text: str) -> NoReturn:
    raise click.ClickException(text)
