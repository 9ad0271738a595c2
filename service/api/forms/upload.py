"""A request of ours as a form and its photos."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from service.api.body.arriving import arriving
from service.api.body.limits import UploadLimits
from service.api.body.stream import HttpRequest
from service.api.forms.form import POSE, SELFIES, Form, expected_of

F = TypeVar("F", bound=Form)
F_co = TypeVar("F_co", bound=Form, covariant=True)


@dataclass(frozen=True, slots=True)
class Upload(Generic[F_co]):
    """`images` are the selfies, `pose` the photo whose face says where the new one goes.

    Raises BadRequest where the form has other selfies in mind than there are.
    """

    form: F_co
    images: list[bytearray]
    pose: bytearray | None = None

    def __post_init__(self) -> None:
        self.form.refuse_selfies(len(self.images))

    @property
    def files(self) -> list[bytearray]:
        """All that has to be decoded and wiped, selfies first."""
        return [*self.images, *([] if self.pose is None else [self.pose])]

    def __repr__(self) -> str:
        return f"Upload({len(self.files)} images)"


async def read_upload(
    request: HttpRequest, form: type[F], limits: UploadLimits, otherwise: Mapping[str, Any] | None = None
) -> Upload[F]:
    """`otherwise` has what stands for a field that is left out. What was read of a refused upload is wiped.

    Raises BadRequest, UnsupportedMedia, TooLarge or UploadTooSlow; ClientLeft when the caller hangs up.
    """
    async with arriving(request, expected_of(form), limits) as received:
        filled = form.read(received.values, from_text=received.is_text, otherwise=otherwise)
        await received.complete()
        pose = received.photos(POSE.name)
        return Upload(filled, received.photos(SELFIES.name), pose[0] if pose else None)
