"""How long OpenMP's threads look for more work before they sleep. libgomp reads it when torch is loaded; no torch here.

A network of small layers is hundreds of parallel regions, some ten microseconds apart. Threads that sleep at once have
to be woken for each, which takes a virtual machine about as long as the work; threads that never sleep starve all
others. 10,000 turns of the loop are about a tenth of a millisecond: longer than such a gap, shorter than any wait for
a job. What that gives is in DECISIONS.md.
"""

from collections.abc import Mapping

BRIEFLY = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def short_spin(environment: Mapping[str, str]) -> dict[str, str]:
    """What to add to an environment: nothing if it has a say. OMP_WAIT_POLICY=ACTIVE is for machines with one use."""
    return {} if BRIEFLY.keys() & environment.keys() else dict(BRIEFLY)
