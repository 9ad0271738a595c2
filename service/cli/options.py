"""Settings as options of a command, and how a command fails: with a sentence."""

import os
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import click

from service.api.forms.fields import flat_fields
from service.api.forms.form import Form
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


def form_options(form: type[Form], helps: Mapping[str, str], *, without: tuple[str, ...]) -> Callable[[F], F]:
    """One text option per field, with its rule for a help where `helps` has none."""

    def decorate(function: F) -> F:
        for name, field in reversed(list(flat_fields(form).items())):
            if name not in without:
                flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
                function = click.option(flag, name, help=helps.get(name, f"{field.rule}."))(function)
        return function

    return decorate


def read_settings(flags: dict[str, str | None]) -> Settings:
    try:
        return load_settings(os.environ, {name: text for name, text in flags.items() if text is not None})
    except SettingsError as error:
        fail(str(error))


def fail(text: str) -> NoReturn:
    raise click.ClickException(text)
