"""What a body brought: all that a form is read from."""

from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from service.errors import BadRequest
from service.memory import wipe

Pair = tuple[str, str]


@dataclass(slots=True)
class ReceivedFile:
    """`content_type` is as the caller declared it, and may be anything."""

    content_type: str
    data: bytearray = field(default_factory=bytearray)

    def __repr__(self) -> str:
        return f"ReceivedFile({len(self.data)} bytes)"


async def _nothing() -> None: ...


@dataclass(slots=True)
class Received:
    """`values` by name, in the order in which they came; `is_text`: numbers and yes/no among them are text.

    The values are there at once. `files` are all there after `complete`.
    """

    values: dict[str, Any] = field(default_factory=dict[str, Any])
    is_text: bool = True
    files: dict[str, list[ReceivedFile]] = field(default_factory=dict[str, list[ReceivedFile]])
    complete: Callable[[], Awaitable[None]] = _nothing

    def __repr__(self) -> str:
        return f"Received({len(self.values)} values, {len(self.files)} fields of files)"

    def add_file(self, name: str, content_type: str) -> ReceivedFile:
        """An empty one, to be filled; whatever comes of it, `wipe` finds it."""
        file = ReceivedFile(content_type)
        self.files.setdefault(name, []).append(file)
        return file

    def photos(self, name: str) -> list[bytearray]:
        return [file.data for file in self.files.get(name, [])]

    def leave_out_blanks(self, kept: Collection[str]) -> None:
        """An HTML form sends what nobody filled in, and means nothing by it; but for the names that are kept."""
        for name, text in self.values.items():
            if name not in kept and not text.strip():
                self.values[name] = None

    def wipe(self) -> None:
        wipe(file.data for files in self.files.values() for file in files)


def each_once(pairs: Iterable[Pair]) -> dict[str, Any]:
    """Raises BadRequest for a name that is there twice: which of the two was meant, nobody can say."""
    values: dict[str, Any] = {}
    for name, text in pairs:
        if name in values:
            raise BadRequest.of_field("duplicate_field", name, f"The field '{name[:64]}' is there more than once.")
        values[name] = text
    return values
