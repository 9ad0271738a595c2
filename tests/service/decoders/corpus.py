"""Everything that a stranger might send: `FILES` are bodies of a picture, `FORMS` whole requests.

Each says what must come of it; nothing may end in a 5xx, in a dead service or on a disk. All of it is made in code,
on first use.
"""

from tests.service.expect import FINE, Expect, HostileFile, HostileForm, refused
from tests.service.file_corpus import FILES
from tests.service.form_corpus import FORMS

__all__ = ["FILES", "FINE", "FORMS", "Expect", "HostileFile", "HostileForm", "refused"]
