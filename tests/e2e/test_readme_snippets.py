"""The snippets that call the service, run as they stand in the documents against the real service, in their order."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FRONT_PAGE = FENCED.findall((ROOT / "README.md").read_text())
CALLING = FENCED.findall((ROOT / "service" / "api" / "README.md").read_text())
SNIPPETS = [*((kind, code) for kind, code in FRONT_PAGE if "curl " in code), *CALLING]
MADE = {"openai": "openai-*.png", "replicate": "replicate-*.png", "predictions/": "cog.json", "finals": "final.jpg"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the reader stands after `make demo`."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "out").mkdir()
    Image.fromarray(skimage.data.astronaut()).save(folder / "out" / "selfie.jpg", quality=95)
    return folder


def test_there_are_snippets_for_curl_openai_and_replicate():
    text = "".join(code for _, code in SNIPPETS)
    assert {"sh", "python"} == {kind for kind, _ in SNIPPETS}
    assert all(word in text for word in ("curl ", "openai", "replicate", "/v1/identities", "/predictions/"))


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_of_the_documents_works(service, folder, number):
    kind, code = SNIPPETS[number]
    code = code.replace("http://127.0.0.1:8000", str(service.base_url).rstrip("/"))
    if kind == "sh" and "jq" in code and shutil.which("jq") is None:
        pytest.skip("jq is not installed here")
    code = code.replace("curl ", "curl --fail-with-body -sS ")
    command = [sys.executable, "-c", code] if kind == "python" else ["sh", "-ec", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=110)
    assert done.returncode == 0, done.stdout[:500] + done.stderr[-2000:]
    for word, files in MADE.items():
        if word in code:
            made = list((folder / "out").glob(files))
            assert made, files
            assert all(_is_good(path) for path in made)


def _is_good(path: Path) -> bool:
    if path.suffix == ".json":
        return b'"status":"succeeded"' in path.read_bytes()
    return Image.open(io.BytesIO(path.read_bytes())).size[0] >= 256


def test_the_clients_check_finds_all_of_it_working(service):
    address = str(service.base_url).rstrip("/")
    command = [sys.executable, str(ROOT / "loadtest" / "clients_check.py"), address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=115)
    assert done.returncode == 0, done.stdout
    assert "21 of 21 work, 0 skipped" in done.stdout
