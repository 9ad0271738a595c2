"""The whole way of a checkpoint in the published layout: fetched, converted, loaded, and a portrait drawn with it."""

import sys

import pytest
import skimage.data

from models.weights.fetch import fetch
from models.weights.manifest import read_manifest
from models.wire.events import Done, Portrait
from models.wire.reports import Ready
from models.wire.setup import Setup
from tests.models.conftest import MANIFEST
from tests.models.running import Harness, picture_of, portrait_order
from tests.models.weights.hub import Hub

NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")


class Guard:
    """Notes every use of the network while it is on. Python's audit hooks can't be taken off again."""

    def __init__(self):
        self.on = False
        self.seen = []
        sys.addaudithook(self._note)

    def _note(self, event, arguments):
        if self.on and event in NETWORK:
            self.seen.append((event, arguments))


def published(folder):
    """The files of a weights folder as repositories on a hub, and the [[repositories]] that describe them."""
    repositories, text = {}, ""
    for part in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = {str(path.relative_to(part)): path.read_bytes() for path in part.rglob("*") if path.is_file()}
        repositories[f"made/{part.name}"] = files
        entries = ", ".join(f'{{ path = "{name}", size = {len(data)} }}' for name, data in files.items())
        text += f'\n[[repositories]]\nsource = "hub"\nrepo = "made/{part.name}"\nlicence = "CC0-1.0"\n'
        text += f'commercial = "yes"\nfiles = [{entries}]\n'
    return repositories, text


@pytest.fixture
def fetched(weights_dir, tmp_path_factory):
    """A folder that `fetch` filled from a hub, which is gone by now."""
    target = tmp_path_factory.mktemp("fetched")
    repositories, text = published(weights_dir)
    (target / "manifest.toml").write_text(MANIFEST + text)
    with Hub(repositories) as hub:
        fetch(read_manifest(target / "manifest.toml"), "golden", target, endpoint=hub.url, say=lambda _: None)
    return target


def test_a_made_up_checkpoint_is_fetched_converted_loaded_and_draws_without_the_network(fetched):
    assert (fetched / "photomaker" / "photomaker-v1.safetensors").is_file()
    guard = Guard()
    guard.on = True
    setup = Setup(bundle="golden", manifest=str(fetched / "manifest.toml"), weights_dir=str(fetched), device="cpu")
    harness = Harness(setup)
    ready = harness.wait(Ready)
    harness.worker.receive(portrait_order(picture_of(skimage.data.astronaut())))
    harness.wait(Done)
    harness.stop()
    guard.on = False
    assert guard.seen == []
    [portrait] = [message for message in harness.sent if isinstance(message, Portrait)]
    assert len(portrait.data) > 500
    files = {file.id: file for file in ready.bundle.files}
    assert files["photomaker/photomaker-v1.bin"].source == "made/photomaker:photomaker-v1.bin"
    assert not ready.bundle.accepted_noncommercial
