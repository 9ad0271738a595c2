"""For all tests: set what must be set before torch is loaded."""

import os

# As the front starts its workers. Threads that spin while they wait made this suite three times slower on busy cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
