"""The bounds of one request's body."""

from dataclasses import dataclass, field

from service.arrival import Pace
from service.decoders.protocol import MAX_BYTES
from service.errors import BadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """What one request may bring. `max_image_bytes` should be the decoders' own `max_bytes`."""

    max_images: int = 8
    max_image_bytes: int = MAX_BYTES
    max_body_bytes: int = 4 * MAX_BYTES  # eight phone selfies are 15-30 MB
    max_fields: int = 32
    max_field_bytes: int = 8192  # a prompt of 2000 characters, whatever the script
    pace: Pace = field(default_factory=Pace)

    def refuse_too_many(self, num_selfies: int, name: str) -> None:
        """Raises BadRequest for more selfies than one job may have, naming the field that brought them."""
        if num_selfies > self.max_images:
            message = f"There are more than {self.max_images} selfies: send the best {self.max_images}."
            raise BadRequest.of_field("too_many_images", name, message, limit=self.max_images)
