"""Every adapter that a bundle can have, one name for each; its folder has the rest."""

from typing import get_args

import msgspec

from models.adapters.instantid.spec import InstantIDSpec
from models.adapters.ip_adapter.spec import IPAdapterSpec
from models.adapters.photomaker.spec import PhotoMakerSpec, PhotoMakerV2Spec
from models.adapters.spec import CheckpointSpec

RegisteredSpec = PhotoMakerSpec | PhotoMakerV2Spec | InstantIDSpec | IPAdapterSpec


def entries() -> str:
    """How each is written in a manifest's list of adapters, for people."""
    return ", ".join(map(_entry, get_args(RegisteredSpec)))


def _entry(kind: type[CheckpointSpec]) -> str:
    fields = "".join(f', {field.encode_name} = "..."' for field in msgspec.structs.fields(kind))
    return f'{{ type = "{kind.__struct_config__.tag}"{fields} }}'
