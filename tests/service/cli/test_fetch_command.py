"""`proofsheet fetch` from the command line to the files; what can go wrong on the way is in tests/models/weights."""

import os
import subprocess
import sys

from service.workers.process import worker_environment
from tests.models.weights.hub import Hub

NOWHERE = "http://127.0.0.1:9"
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
MANIFEST = f"""
[bundles.mine]
title = "one file"
adapters = [{{ type = "photomaker", path = "base" }}]
{"".join(f'{part} = "base"' + chr(10) for part in PARTS)}
[[repositories]]
source = "hub"
repo = "made/base"
licence = "MIT"
commercial = "yes"
files = [{{ path = "config.json" }}]
"""


def proofsheet(*arguments, endpoint=NOWHERE):
    command = [sys.executable, "-m", "service", "fetch", *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PROOFSHEET_", "HF_"))}
    environment["HF_ENDPOINT"] = endpoint
    return subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env=environment)


def test_a_dry_run_shows_files_terms_and_the_total_without_a_network():
    done = proofsheet("research", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "InstantID/ip-adapter.bin" in done.stdout
    assert "total: 24 files, about 13.97 GB" in done.stdout
    assert "not for commercial use: PhotoMaker-V2/photomaker-v2.bin" in done.stdout


def test_a_profile_comes_from_the_hub_that_the_environment_names(tmp_path):
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    with Hub({"made/base": {"config.json": b"{}"}}) as hub:
        options = ("--manifest", tmp_path / "manifest.toml", "--weights-dir", tmp_path / "weights")
        done = proofsheet("mine", *options, endpoint=hub.url)
    assert done.returncode == 0, done.stderr
    assert "mine: 1 files fetched, 0 were here; all 1 are verified" in done.stdout
    assert (tmp_path / "weights" / "base" / "config.json").read_bytes() == b"{}"


def test_a_worker_is_always_offline():
    assert worker_environment()["HF_HUB_OFFLINE"] == "1"
