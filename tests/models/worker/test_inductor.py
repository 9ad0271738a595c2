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


def compile_in(folder, scratch):
    """In a fresh process, whose compiler remembers nothing but what lies in `folder`."""
    command = [sys.executable, "-m", "tests.models.worker.compiled_block", str(folder)]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, env=environment, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_compiled_block_is_the_block_and_a_second_start_compiles_nothing(tmp_path):
    folder = tmp_path / "cache"
    first = compile_in(folder, tmp_path / "first")
    assert not first["loaded"]
    assert (first["compiled"], first["found"]) == (1, 0)
    assert first["programs"] == 1
    assert first["apart"] < 1e-5
    assert first["saved"]
    second = compile_in(folder, tmp_path / "second")
    assert second["loaded"]
    assert (second["compiled"], second["found"]) == (0, 1)
    assert second["apart"] < 1e-5
