"""What the service knows and must not tell: API keys, sealing keys, the secret behind webhook signatures."""

import dataclasses
import os
from pathlib import Path

from service.access.key_file import key_paths
from service.access.keys import Keys
from service.jobs.sealing import Sealer
from service.settings import Settings


class SecretsError(Exception):
    """A file of secrets can't be used. The text is for the operator and holds none of them."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """Read once at start; both files are read again when they change."""

    keys: Keys | None  # None: everyone may do everything
    sealer: Sealer
    webhook_secret: bytes = dataclasses.field(repr=False)

    @classmethod
    def of_this_process(cls) -> "Secrets":
        """No API keys; whatever is sealed or signed is worth nothing after a restart."""
        return cls(keys=None, sealer=Sealer.with_random_key(), webhook_secret=os.urandom(32))


def open_secrets(settings: Settings) -> Secrets:
    """Raises SecretsError."""
    keys = None if settings.keys is None else _open_keys(settings)
    sealer = Sealer.with_random_key() if settings.sealing_keys is None else _open_sealer(settings.sealing_keys)
    webhook_secret = os.urandom(32) if keys is None else keys.derive_secret("webhooks")
    return Secrets(keys=keys, sealer=sealer, webhook_secret=webhook_secret)


def _open_keys(settings: Settings) -> Keys:
    path, secret_path = key_paths(settings)
    try:
        return Keys.from_files(path, secret_path)
    except OSError as error:
        told = f"can't read {error.filename}: {error.strerror}; `proofsheet keys add` makes the keys and their secret"
        raise SecretsError(told) from None
    except ValueError as error:
        raise SecretsError(f"the API keys in {path} can't be used: {error}") from None


def _open_sealer(path: str) -> Sealer:
    try:
        return Sealer.from_file(Path(path))
    except OSError as error:
        raise SecretsError(f"can't read the sealing keys in {path}: {error.strerror}") from None
    except ValueError as error:
        raise SecretsError(f"the sealing keys in {path} can't be used: {error}") from None
