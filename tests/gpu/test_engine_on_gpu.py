"""What only a GPU can show. Skipped, and said so, where there is none."""

import pytest
import torch

from models.weights.modules import Place
from scripts.golden.photomaker import PhotoMakerFolder
from tests.models.conftest import GOLDEN

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU HERE: nothing of CUDA is tested in this run"),
]

PIPELINES = [case for case in PhotoMakerFolder(GOLDEN).json("index.json")["cases"] if case.startswith("pipeline")]


@pytest.fixture(scope="module")
def folder():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # the records are float32
    return PhotoMakerFolder(GOLDEN, Place(torch.device("cuda:0"), torch.float32))


@pytest.mark.parametrize("case", PIPELINES)
def test_every_recorded_pipeline_is_reproduced_in_float32(folder, case):
    outcome = folder.check_case(case)
    assert outcome.ok, str(outcome)
