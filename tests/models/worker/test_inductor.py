"""torch.compile with the compiler that is used in earnest, which takes a C++ compiler and half a minute."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here"),
]


# Only one thread, and no look at what the processor can do: for seven small kernels both take longer than compiling.
LEAN = {"TORCHINDUCTOR_COMPILE_THREADS": "1", "TORCHINDUCTOR_VEC_ISA_OK": "1"}


def test_a_compiled_block_is_the_block_and_a_second_start_compiles_nothing(tmp_path):
    command = [sys.executable, "-m", "tests.models.worker.compiled_block", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=os.environ | LEAN, check=True)
    first, second = map(json.loads, done.stdout.splitlines())
    assert not first["loaded"]
    assert (first["compiled"], first["found"]) == (1, 0)
    assert first["programs"] == 1
    assert first["apart"] < 1e-5
    assert first["saved"]
    assert second["loaded"]
    assert (second["compiled"], second["found"]) == (0, 1)
    assert second["apart"] < 1e-5
