"""The file of compiled code: what is trusted, and that nothing wrong with it stops a start."""

import logging
import os

import pytest
import torch

from models.sdxl.speed import Speed
from models.worker.compile_cache import MAGIC, CompileCache, key_of

CPU = torch.device("cpu")
PAYLOAD = b"programs"


@pytest.fixture
def torch_cache(monkeypatch):
    """torch's own part: what it was given, and what it would save."""
    given = []
    monkeypatch.setattr(torch.compiler, "load_cache_artifacts", lambda data: given.append(data) or "info")
    monkeypatch.setattr(torch.compiler, "save_cache_artifacts", lambda: (PAYLOAD, "info"))
    return given


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def test_a_second_start_goes_on_with_what_the_first_compiled(folder, torch_cache):
    first = CompileCache(folder, "key")
    assert not first.load()
    assert first.save()
    second = CompileCache(folder, "key")
    assert second.load()
    assert torch_cache == [PAYLOAD]
    assert not second.save()  # nothing new
    assert [path.name for path in folder.iterdir()] == ["compiled-key.bin"]


@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data[len(MAGIC) :], lambda data: b""])
def test_a_damaged_file_is_ignored_with_one_line(folder, torch_cache, caplog, spoil):
    CompileCache(folder, "key").save()
    path = folder / "compiled-key.bin"
    path.write_bytes(spoil(path.read_bytes()))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert not CompileCache(folder, "key").load()
    assert torch_cache == []
    assert len(caplog.records) == 1


def test_a_folder_that_others_may_write_is_not_trusted(folder, torch_cache, caplog):
    CompileCache(folder, "key").save()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    assert not CompileCache(folder, "key").load()
    assert "may be written by others" in caplog.text
    assert torch_cache == []


def test_what_torch_can_not_use_is_ignored(folder, torch_cache, monkeypatch, caplog):
    CompileCache(folder, "key").save()
    monkeypatch.setattr(torch.compiler, "load_cache_artifacts", lambda data: None)
    assert not CompileCache(folder, "key").load()
    assert "torch can't use it" in caplog.text


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_stops_nothing(folder, torch_cache, caplog):
    folder.mkdir(mode=0o500)
    assert not CompileCache(folder, "key").save()
    assert "was not saved" in caplog.text


def test_other_settings_and_another_torch_are_other_files(monkeypatch):
    keys = {key_of(Speed(compile=how, fp8=fp8), CPU) for how in ("blocks", "full") for fp8 in (True, False)}
    monkeypatch.setattr(torch, "__version__", "9.9")
    keys.add(key_of(Speed(compile="full"), CPU))
    assert len(keys) == 5
    assert key_of(Speed(compile="full", graphs=False), CPU) in keys  # recordings are no compiled code
