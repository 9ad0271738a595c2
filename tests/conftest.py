"""For all tests: set what must be set before torch is loaded."""

import os

from models.spinning import short_spin

# As the front starts its workers. Threads that spin for long made this suite three times slower on busy cores.
os.environ.update(short_spin(os.environ))
