"""`proofsheet keys add | list | revoke`: what an operator does with the file of API keys."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import click
import msgspec

from service.access.caller import SCOPES
from service.access.key_file import KeyEntry, KeysError, add_key, key_paths, make_service_secret, parse_keys, revoke_key
from service.cli.options import fail, read_settings, setting_options
from service.settings import env_key
from service.wanted import wanted

NO_HASH = "0" * 64


@click.group(name="keys")
def keys_command() -> None:
    """Add, list and revoke API keys. A running service takes up every change within a second.

    \b
    proofsheet keys add shop --keys keys.toml --scope preview --images-per-minute 60
    proofsheet serve --keys keys.toml
    """


@keys_command.command(name="add")
@click.argument("caller")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(sorted(SCOPES)), help="Repeatable. [default: preview]"
)
@click.option("--weight", type=float, default=1.0, help="The caller's share of a full service, against 1.")
@click.option("--images-per-minute", type=int, help="Unset: no quota.")
@click.option("--jobs-in-flight", type=int, help="Unset: no quota.")
@click.option("--days", type=click.IntRange(min=1), help="How long it is valid. Unset: until it is revoked.")
@setting_options("keys", "keys_secret")
def add_command(
    caller: str,
    scopes: tuple[str, ...],
    days: int | None,
    keys: str | None,
    keys_secret: str | None,
    **limits: float | None,
) -> None:
    """Make a key for CALLER and print it, once. Keys of one caller share jobs and tokens."""
    path, secret_path = _paths(keys, keys_secret)
    until = None if days is None else datetime.now(UTC) + timedelta(days=days)
    fields = {"caller": caller, "hash": NO_HASH, "scopes": list(scopes or ("preview",)), "not_after": until, **limits}
    try:
        entry = msgspec.convert(fields, KeyEntry)
        key = add_key(path, make_service_secret(secret_path), entry)
    except msgspec.ValidationError as error:
        fail(_what_is_wrong(fields, error))
    except (OSError, KeysError) as error:
        fail(f"{path}: {_reason(error)}")
    click.echo(key)
    click.echo("This is the only time that the key is shown: only a hash of it is kept.", err=True)


def _what_is_wrong(fields: dict[str, Any], error: msgspec.ValidationError) -> str:
    """By the path at the end of msgspec's own message, which is for programmers."""
    name = re.findall(r"\w+", str(error))[-1]
    if name not in fields:
        return str(error)
    return f"{name} {fields[name]!r}: wanted {wanted(get_type_hints(KeyEntry, include_extras=True)[name])}"


@keys_command.command(name="list")
@setting_options("keys")
def list_command(keys: str | None) -> None:
    """Show every key's id, owner and quotas. The keys themselves are nowhere."""
    path, _ = _paths(keys, None)
    try:
        entries = parse_keys(path.read_text(encoding="utf-8"))
    except (OSError, KeysError) as error:
        fail(f"{path}: {_reason(error)}")
    now = datetime.now(UTC)
    for key_id, entry in entries.items():
        scopes = ",".join(sorted(entry.scopes))
        quotas = f"{entry.images_per_minute or '-'} images/min, {entry.jobs_in_flight or '-'} jobs"
        click.echo(f"{key_id}  {entry.state(now):8}  {entry.caller:20}  {scopes:20}  weight {entry.weight:g}  {quotas}")


@keys_command.command(name="revoke")
@click.argument("key_id")
@setting_options("keys")
def revoke_command(key_id: str, keys: str | None) -> None:
    """Make the key KEY_ID useless. The id is the part between `ps_` and the next `_`."""
    path, _ = _paths(keys, None)
    try:
        entry = revoke_key(path, key_id, datetime.now(UTC))
    except (OSError, KeysError) as error:
        fail(f"{path}: {_reason(error)}")
    click.echo(f"{key_id} of {entry.caller} is revoked")


def _paths(keys: str | None, keys_secret: str | None) -> tuple[Path, Path]:
    settings = read_settings({"keys": keys, "keys_secret": keys_secret})
    if settings.keys is None:
        fail(f"say which file holds the keys: --keys FILE, or {env_key('keys')} in the environment")
    return key_paths(settings)


def _reason(error: Exception) -> str:
    return error.strerror or "can't be read" if isinstance(error, OSError) else str(error)
