"""Stages as processes of their own: several side by side, or one stage as ranks that average their gradients."""

import subprocess
import sys
import time
from collections.abc import Sequence

THIS = "scripts.train_tiny"
LOOK_SECONDS = 0.5


def as_ranks(stage: str, processes: int, options: Sequence[str]) -> None:
    """Raises subprocess.CalledProcessError; torchrun stops the others when one fails."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    subprocess.run([*launcher, "-m", THIS, stage, *options], check=True)


def side_by_side(branches: Sequence[Sequence[str]], options: Sequence[str]) -> None:
    """One process for each branch of stages. Raises CalledProcessError when one fails, and stops the others."""
    running = [subprocess.Popen([sys.executable, "-m", THIS, *branch, *options]) for branch in branches]
    try:
        while any(process.poll() is None for process in running):
            _raise_failure(running)
            time.sleep(LOOK_SECONDS)
        _raise_failure(running)
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _raise_failure(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll():
            raise subprocess.CalledProcessError(process.returncode, process.args)
