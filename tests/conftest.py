"""For all tests: set what must be set before torch is loaded."""

import gc
import os

import pytest

# Several test processes share the cores. Threads that spin, even briefly as in a worker, make that half as slow again.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Tests that are coroutines run in asyncio's own loop."""
    return "asyncio"


def pytest_collection() -> None:
    """What is imported is kept, so that looking for garbage in it is in vain; a fifth of the time of collecting."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over a million objects of torch and diffusers, which no test throws away."""
    gc.freeze()
    gc.enable()
