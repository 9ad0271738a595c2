"""How long a worker's threads look for work: what its environment says of it."""

import pytest

from models.worker.openmp import BRIEFLY
from service.workers.process import worker_environment


@pytest.fixture
def undecided(monkeypatch):
    for name in BRIEFLY:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_worker_s_threads_spin_briefly(undecided):
    assert BRIEFLY.items() <= worker_environment().items()


@pytest.mark.parametrize("name", BRIEFLY)
def test_the_operator_s_word_on_spinning_stands_alone(name, undecided):
    undecided.setenv(name, "as the operator likes")
    spinning = {name: value for name, value in worker_environment().items() if name in BRIEFLY}
    assert spinning == {name: "as the operator likes"}
