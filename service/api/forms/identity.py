"""The form of POST /v1/identities: selfies, and of a portrait's fields those that are not about a picture."""

from typing import ClassVar

from service.api.body.expected import FileField
from service.api.forms.fields import flat_fields
from service.api.forms.form import NO_SELFIE, POSE, SELFIES, Form
from service.api.forms.portrait import Adapter, PortraitForm, Several, SeveralPeople
from service.api.forms.terms import CallerTerms, Deadline
from service.errors import BadRequest


class IdentityForm(Form, frozen=True, kw_only=True):
    """The fields of POST /v1/identities."""

    photos: ClassVar[tuple[FileField, ...]] = (SELFIES,)

    adapter: Adapter | None = None
    several_faces: Several = "largest"
    disagreeing: SeveralPeople = "warn"
    deadline: Deadline | None = None

    @classmethod
    def refuse_unknown(cls, name: str) -> None:
        """A field about a picture is told apart from one that nobody knows."""
        if name not in flat_fields(cls) and name in (*flat_fields(PortraitForm), POSE.name):
            known = ", ".join(flat_fields(cls))
            message = f"The field '{name}' is not taken here, where no picture is made: send selfies, and of the fields"
            raise BadRequest.of_field("unknown_field", name, f"{message} {known}.")
        super().refuse_unknown(name)

    def refuse_selfies(self, count: int) -> None:
        """There must be one."""
        if not count:
            raise BadRequest.of_field("image_missing", SELFIES.name, NO_SELFIE)

    @property
    def terms(self) -> CallerTerms:
        return CallerTerms(deadline=self.deadline)
