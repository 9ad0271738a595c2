"""A bound that is counted."""


class Places:
    """A counted bound. `take` and `give_back` are mirror images; used from the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    @property
    def over(self) -> int:
        """How many are taken that should not be."""
        return max(self.taken - self.limit, 0)

    def has_room(self, count: int = 1) -> bool:
        return self.taken + count <= self.limit

    def take(self, count: int = 1) -> None:
        self.taken += count

    def give_back(self, count: int = 1) -> None:
        assert self.taken >= count
        self.taken -= count
