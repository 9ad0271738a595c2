"""What only a GPU can show. Skipped, and said so, where there is none."""

import pytest
import torch

from models.bundle.modules import Place
from models.engine.rows import noise
from scripts.golden.instantid import RECIPES, InstantIDFolder
from scripts.golden.photomaker import PhotoMakerFolder
from tests.models.conftest import GOLDEN, GOLDEN_INSTANTID

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU HERE: nothing of CUDA is tested in this run"),
]

PIPELINES = [case for case in PhotoMakerFolder(GOLDEN).json("index.json")["cases"] if case.startswith("pipeline")]
INSTANTID_PIPELINES = [case for case in InstantIDFolder(GOLDEN_INSTANTID).cases if case in RECIPES]


@pytest.fixture(scope="module")
def place():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # the records are float32
    return Place(torch.device("cuda:0"), torch.float32)


@pytest.fixture(scope="module")
def photomaker(place):
    return PhotoMakerFolder(GOLDEN, place)


@pytest.fixture(scope="module")
def instantid(place):
    return InstantIDFolder(GOLDEN_INSTANTID, place)


@pytest.mark.parametrize("case", PIPELINES)
def test_every_recorded_pipeline_of_photomaker_is_reproduced_in_float32(photomaker, case):
    outcome = photomaker.check_case(case)
    assert outcome.ok, str(outcome)


@pytest.mark.parametrize("case", INSTANTID_PIPELINES)
def test_every_recorded_pipeline_of_instantid_is_reproduced_in_float32(instantid, case):
    outcome = instantid.check_case(case)
    assert outcome.ok, str(outcome)


def test_a_rows_noise_is_that_of_the_cpu_to_the_bit_however_many_are_under_way(place):
    shape = (4, 128, 128)
    sent = [noise(seed, 1, shape, place.device) for seed in range(64)]
    for seed, drawn in enumerate(sent):
        assert torch.equal(drawn.cpu(), noise(seed, 1, shape, torch.device("cpu")))
