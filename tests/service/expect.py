"""What must come of something that a stranger sends."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Expect:
    """A refusal with this status and one of these codes; `status` None means fine. `or_fine`: depends on the codec."""

    status: int | None = None
    codes: frozenset[str] = frozenset()
    or_fine: bool = False


FINE = Expect()


def refused(status: int, *codes: str, or_fine: bool = False) -> Expect:
    return Expect(status, frozenset(codes), or_fine)


@dataclass(frozen=True)
class HostileFile:
    name: str
    data_factory: Callable[[], bytes]
    expect: Expect

    @property
    def data(self) -> bytes:
        return _made(self.data_factory)


@dataclass(frozen=True)
class HostileForm:
    """A POST of `body_factory()` with this Content-Type header (None: without) to the path with this raw query."""

    name: str
    content_type: str | None
    body_factory: Callable[[], bytes]
    query: str
    expect: Expect

    @property
    def body(self) -> bytes:
        return self.body_factory()


@cache
def _made(factory: Callable[[], bytes]) -> bytes:
    return factory()
