"""`proofsheet/portraits`: every field of POST /v1/portraits as the input of a prediction."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct

from models.wire.bundle_info import BundleInfo
from service.api.forms.fields import flat_fields
from service.api.forms.portrait import PortraitForm
from service.api.forms.values import read_fields, unknown_field
from service.api.replicate.translation import Translated, Uri, refuse

MAX_SELFIES = 8
OWN = tuple(name for name in flat_fields(PortraitForm) if name != "previews")  # a prediction has no place for them

Uris = Annotated[
    list[Uri], Meta(min_length=1, max_length=MAX_SELFIES, description="a list of 1 to 8 data: URLs or files")
]


class Pictures(Struct, frozen=True, kw_only=True):
    """One selfie or several, and the photo of a pose."""

    image: Uri | None = None
    images: Uris | None = None
    pose: Uri | None = None


def translate(values: Mapping[str, Any], _bundle: BundleInfo) -> Translated:
    """Raises BadRequest or BadInput."""
    names = tuple(flat_fields(Pictures))
    for name in values:
        if name not in (*names, *OWN):
            raise unknown_field(name, (*names, *OWN))
    pictures = read_fields(Pictures, {name: value for name, value in values.items() if name in names})
    form = PortraitForm.read({name: value for name, value in values.items() if name in OWN}, from_text=False)
    selfies = [("image", pictures.image)] if pictures.image is not None else []
    selfies += [(f"images[{index}]", uri) for index, uri in enumerate(pictures.images or [])]
    if not selfies and form.identity is None:
        raise refuse("image", "There is no selfie: send 'image', or several as 'images'.", "image_missing")
    pose = None if pictures.pose is None else ("pose", pictures.pose)
    return Translated(form=form, selfies=selfies, pose=pose)
