"""For all tests: set what must be set before torch is loaded."""

import os

# Several test processes share the cores. Threads that spin, even briefly as in a worker, make that half as slow again.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
