"""How long idle OpenMP threads spin before they sleep. libgomp reads this when torch is loaded; no torch here.

A network of small layers is hundreds of parallel regions, some ten microseconds apart. Threads that sleep at once have
to be woken for each, which takes a virtual machine about as long as the work; threads that never sleep starve all
others. 10,000 spins take about a tenth of a millisecond: longer than such a gap, shorter than any wait for a job. The
measurement is in DECISIONS.md.
"""

from collections.abc import Mapping

BRIEFLY = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def openmp_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to `environment`: none if the operator set one of them."""
    return {} if BRIEFLY.keys() & environment.keys() else dict(BRIEFLY)
