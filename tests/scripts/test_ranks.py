"""Several processes that train one model: what each of them ends with."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from scripts.train_tiny.lessons.ranks import begin_alike

# What any stage does: random numbers of the rank's own, a model of them, the trainer. Prints what the model became.
STAGE = """
import sys
from pathlib import Path
import torch
from scripts.train_tiny.lessons.ranks import join
from scripts.train_tiny.lessons.trainer import Trainer, channels_last, seeded
folder = Path(sys.argv[1])
torch.set_num_threads(1)
seeded(1, folder, "lesson", join())
model = channels_last(torch.nn.Conv2d(3, 4, 3))
drawn = float(model.weight.sum())
def loss_of(step):
    return {"loss": (model(torch.randn(2, 3, 5, 5)) - 1).square().mean()}
Trainer("lesson", model, folder, rate=1e-2).run(loss_of, budget_seconds=0.05)
print(drawn, *model.state_dict()["weight"].flatten().tolist(), sep="|")
"""


def test_processes_begin_with_one_model_and_end_with_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    root = Path(__file__).resolve().parents[2]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", STAGE, str(tmp_path)],
            env=os.environ | place | {"RANK": str(rank)},
            cwd=root,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [rank.communicate(timeout=100)[0].splitlines()[-1].split("|") for rank in ranks]
    drawn, weights = zip(*((one[0], one[1:]) for one in told), strict=True)
    assert drawn[0] != drawn[1]
    assert weights[0] == weights[1]


def test_a_process_alone_keeps_what_it_has():
    weight = torch.ones(2)
    begin_alike([weight])
    assert weight.tolist() == [1, 1]
