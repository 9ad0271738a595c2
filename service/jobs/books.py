"""Books: by name, what a part has counted beside what is there to be counted. They are right when the two are equal."""

from collections.abc import Mapping

Books = dict[str, tuple[float, float]]
ROUNDING = 1e-6  # costs are sums of fractions, added and subtracted in another order


def discrepancies(books: Mapping[str, tuple[float, float]]) -> Books:
    """Those that are wrong."""
    return {name: (said, there) for name, (said, there) in books.items() if abs(said - there) > ROUNDING}
