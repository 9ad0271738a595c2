"""The worker in this process: real engine, adapter and face path on tiny random weights in the published layout."""

import gc
import io
import re
import threading
import time
import traceback
from types import SimpleNamespace

import msgspec
import pytest
import skimage.data
import torch
from PIL import Image

from models.adapters.adapter import Identity
from models.engine.engine import Engine
from models.engine.rows import Row
from models.faces.face import Face
from models.finish.encoding import encode_image
from models.sdxl.conditioning import RowConditioning
from models.sdxl.denoiser import Denoiser
from models.wire.events import Done, Dropped, Failed, Portrait, Started, Stepped
from models.wire.messages import Cancel
from models.wire.order import Order
from models.wire.reports import Broken, Figures, Ready
from models.worker.__main__ import feed
from models.worker.devices import use_device
from models.worker.job import WorkerJob
from models.worker.preparation import Prepared, Preparer
from models.worker.worker import Worker, WorkerFailed, _preview_pixels
from tests.models.running import Harness, picture_of, pixels_of, portrait_order


def test_a_job_starts_steps_delivers_every_portrait_and_ends_once(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, seeds=(5, 6)))
    done = harness.wait(Done)
    messages = harness.of("job")
    kinds = [type(m) for m in messages]
    assert kinds[0] is Started
    assert kinds.count(Stepped) == 8
    assert kinds.count(Done) == 1
    assert kinds[-1] is Done
    portraits = [m for m in messages if isinstance(m, Portrait)]
    assert sorted((p.index, p.seed) for p in portraits) == [(0, 5), (1, 6)]
    for portrait in portraits:
        image = Image.open(io.BytesIO(portrait.data))
        assert (image.format, image.size) == ("JPEG", (64, 64))
    timings = done.timings
    assert 0 < timings.face_ms < timings.total_ms
    parts = timings.face_ms + timings.identity_ms + timings.text_ms + timings.queue_ms + timings.steps_ms
    assert parts <= timings.total_ms + 1


def test_every_thread_of_a_worker_enters_its_device(setup, monkeypatch):
    """CUDA keeps a present device for each thread, and it is the first GPU until somebody says otherwise."""
    entered = []
    monkeypatch.setattr(
        "models.worker.worker.use_device", lambda device: entered.append((threading.current_thread().name, device))
    )
    harness = Harness(setup)
    harness.wait(Ready)
    harness.stop()
    assert {name.partition("_")[0].partition("-")[0] for name, _ in entered} == {"Thread", "prepare", "finish"}
    assert {device for _, device in entered} == {torch.device("cpu")}


def test_threads_beside_the_engine_s_leave_the_cores_to_it(setup, astronaut, monkeypatch):
    """More OpenMP threads than cores, and libgomp has none of them spin."""
    threads = {}

    def noting(work, name):
        return lambda *given: (threads.setdefault(name, torch.get_num_threads()), work(*given))[1]

    harness = Harness(msgspec.structs.replace(setup, threads=3))
    harness.wait(Ready)
    monkeypatch.setattr(Engine, "tick", noting(Engine.tick, "engine"))
    monkeypatch.setattr(Preparer, "prepare", noting(Preparer.prepare, "preparation"))
    monkeypatch.setattr("models.worker.worker.encode_image", noting(encode_image, "encoding"))
    harness.worker.receive(portrait_order(astronaut))
    harness.wait(Done)
    harness.stop()
    assert threads == {"engine": 3, "preparation": 1, "encoding": 1}


def test_a_thread_takes_the_gpu_that_it_is_told_and_no_other(monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for name in ("cpu", "cuda:1", "cuda"):
        use_device(torch.device(name))
    assert taken == [torch.device("cuda:1")]


def test_ready_tells_the_bundle_and_its_licences(harness):
    ready = harness.wait(Ready)
    assert ready.bundle.default_adapter == "photomaker"
    assert ready.fetchable == {"photomaker": "golden"}
    assert {file.licence for file in ready.bundle.files} == {"CC0-1.0"}
    assert ready.max_rows == 4


def test_the_same_seed_gives_the_same_bytes_alone_and_in_company(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, "alone", seeds=(7,), format="png"))
    harness.wait(Done, "alone")
    for name in ("x", "y"):
        harness.worker.receive(portrait_order(astronaut, name, seeds=(1, 2), sampler="lcm", steps=8, format="png"))
    harness.worker.receive(portrait_order(astronaut, "company", seeds=(7,), format="png"))
    harness.wait(Done, "company")
    alone, company = (harness.wait(Portrait, name).data for name in ("alone", "company"))
    difference = abs(pixels_of(alone).astype(int) - pixels_of(company))
    assert difference.max() <= 1  # another bucket may move a rounding by one grey level


def test_gamma_is_how_much_noise_tcd_draws_and_0_3_unless_said(harness, astronaut):
    for name, changes in {"half": {"gamma": 0.5}, "none": {"gamma": 0.0}, "usual": {}, "0.3": {"gamma": 0.3}}.items():
        harness.worker.receive(
            portrait_order(astronaut, name, seeds=(7,), sampler="tcd", steps=4, format="png", **changes)
        )
        harness.wait(Done, name)
    half, none, usual, stated = (harness.wait(Portrait, name).data for name in ("half", "none", "usual", "0.3"))
    assert usual == stated
    assert len({half, none, usual}) == 3


def test_a_picture_without_a_face_is_refused_with_a_code_and_a_report(harness):
    harness.worker.receive(portrait_order(picture_of(skimage.data.coffee())))
    failed = harness.wait(Failed)
    assert (failed.code, failed.fault, failed.selfie) == ("no_face", "caller", 0)
    assert failed.faces[0].verdict == "no_face"
    assert len(failed.message) > 30


REFUSED = [
    ({"sampler": "dpm"}, "unknown_sampler", "Choose one of: euler"),
    ({"adapter": "instantid"}, "unknown_adapter", "Choose one of: photomaker"),
    ({"width": 640, "height": 480}, "unknown_size", "640x480.*64x64, 96x64"),
    ({"steps": 51}, "too_many_steps", "over the limit of 50"),
    ({"prompt": "photo of a woman " + "very " * 90}, "prompt_too_long", "75 fit"),
    ({"prompt": "imgur photo of a woman"}, "prompt_reserved_word", "reserved"),
    ({"negative_prompt": "bad " * 90, "guidance": 5.0}, "prompt_too_long", "75 fit"),
]


def test_what_the_bundle_cannot_do_is_refused_before_anything_runs(harness, astronaut):
    """One worker for all, since starting one takes longer than all of them."""
    for changes, code, words in REFUSED:
        harness.worker.receive(portrait_order(astronaut, str(changes), **changes))
        failed = harness.wait(Failed, str(changes))
        assert (failed.code, failed.fault) == (code, "caller")
        assert re.search(words, failed.message)
    assert not any(isinstance(m, Started) for m in harness.sent)


def test_a_cancelled_job_is_said_to_be_dropped_sends_nothing_more_and_frees_its_rows(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, "long", steps=50, seeds=(1, 2, 3, 4)))
    harness.wait(Stepped, "long")
    harness.worker.receive(Cancel(job_id="long"))
    harness.worker.receive(portrait_order(astronaut, "next"))
    harness.wait(Done, "next")
    assert isinstance(harness.of("long")[-1], Dropped)
    count = len(harness.of("long"))
    time.sleep(0.1)
    assert len(harness.of("long")) == count
    assert not any(isinstance(m, (Done, Failed)) for m in harness.of("long"))
    assert harness.worker.is_idle


def test_a_passed_deadline_ends_the_job_as_expired(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, deadline_seconds=0.001))
    assert harness.wait(Failed).code == "deadline_exceeded"


def test_a_bundle_without_a_quick_decoder_sends_steps_without_previews(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, previews=True))
    harness.wait(Done)
    assert all(m.preview is None for m in harness.of("job") if isinstance(m, Stepped))  # this bundle has none


def test_a_preview_that_cannot_be_made_is_left_out(caplog):
    class Full:
        def decode(self, latents):
            raise torch.OutOfMemoryError("a secret")

    row = SimpleNamespace(clean=torch.zeros(4, 8, 8), is_finished=False)
    assert _preview_pixels(row, SimpleNamespace(preview_decoder=Full())) is None
    assert "OutOfMemoryError at" in caplog.text
    assert "secret" not in caplog.text


def test_figures_tell_the_ticks_and_the_rows(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, seeds=(1, 2)))
    harness.wait(Done)
    time.sleep(1.2)
    ticks = [tick for m in harness.sent if isinstance(m, Figures) for tick in m.ticks]
    assert [tick.rows for tick in ticks] == [2, 2, 2, 2]
    assert all(tick.seconds > 0 for tick in ticks)


def test_jobs_that_are_left_at_shutdown_are_told_so(setup, astronaut):
    harness = Harness(setup)
    harness.wait(Ready)
    harness.worker.receive(portrait_order(astronaut, steps=50, seeds=(1, 2, 3, 4)))
    harness.wait(Stepped)
    harness.stop()
    failed = harness.wait(Failed)
    assert (failed.code, failed.fault) == ("worker_stopping", "capacity")


def test_a_worker_that_cannot_load_says_why_and_returns(setup):
    harness = Harness(msgspec.structs.replace(setup, bundle="nope"))
    assert "'nope' is not in the manifest" in harness.wait(Broken).message
    harness.stop()


def test_a_noncommercial_face_analyzer_needs_the_operators_word(setup):
    harness = Harness(msgspec.structs.replace(setup, face_analyzer="insightface:buffalo_l"))
    assert "may not be used commercially" in harness.wait(Broken).message
    harness.stop()
    harness = Harness(msgspec.structs.replace(setup, face_analyzer="insightface:buffalo_l", accept_noncommercial=True))
    assert "faces/buffalo_l/det_10g.onnx is missing" in harness.wait(Broken).message
    harness.stop()


def failing_with(error):
    """A method that raises."""

    def fail(*_):
        raise error

    return fail


def test_an_engine_failure_ends_its_jobs_and_the_worker_lives(harness, astronaut, monkeypatch):
    with monkeypatch.context() as planted:
        planted.setattr(Denoiser, "predict", failing_with(RuntimeError("a secret prompt")))
        harness.worker.receive(portrait_order(astronaut, "bad"))
        failed = harness.wait(Failed, "bad")
    assert (failed.code, failed.fault) == ("engine_failed", "worker")
    harness.worker.receive(portrait_order(astronaut, "good"))
    harness.wait(Done, "good")


@pytest.mark.parametrize("books", [Engine, Worker], ids=["the engines'", "the worker's"])
def test_when_no_job_is_left_the_books_are_checked(harness, astronaut, monkeypatch, books):
    checked = threading.Event()
    with monkeypatch.context() as planted:
        planted.setattr(books, "check_books", lambda _: checked.set())
        harness.worker.receive(portrait_order(astronaut))
        harness.wait(Done)
        assert checked.wait(5)


def test_a_device_out_of_memory_says_so_and_asks_to_try_again(harness, astronaut, monkeypatch):
    monkeypatch.setattr(Denoiser, "predict", failing_with(torch.OutOfMemoryError()))
    harness.worker.receive(portrait_order(astronaut, "large", seeds=(1, 2)))
    failed = harness.wait(Failed, "large")
    assert (failed.code, failed.fault) == ("out_of_memory", "capacity")


def test_a_bug_in_the_loop_ends_the_worker_with_words_that_tell_nothing(setup, astronaut, monkeypatch):
    def fall(*_):
        raise RuntimeError("a secret prompt")

    monkeypatch.setattr(Worker, "_tick", fall)
    worker = Worker(setup, lambda _message: None)
    worker.receive(portrait_order(astronaut))
    with pytest.raises(WorkerFailed) as failed:
        worker.run()
    told = "".join(traceback.format_exception(failed.value))
    assert "RuntimeError at" in told
    assert "secret" not in told


def test_nothing_of_a_person_is_left_in_the_worker_when_their_job_has_ended(harness, astronaut):
    before = alive(*PERSONAL)
    harness.worker.receive(portrait_order(astronaut, "done", seeds=(1, 2), previews=True))
    harness.worker.receive(portrait_order(astronaut, "refused", steps=1000))
    harness.worker.receive(portrait_order(astronaut, "left", steps=40))
    harness.wait(Stepped, "left")
    harness.worker.receive(Cancel(job_id="left"))
    harness.wait(Done, "done")
    harness.wait(Dropped, "left")
    figures = len([m for m in harness.sent if isinstance(m, Figures)])
    harness.wait_until(lambda: len([m for m in harness.sent if isinstance(m, Figures)]) > figures + 1)  # it rests
    assert newer(before, alive(*PERSONAL)) == []


PERSONAL = (Row, RowConditioning, Identity, Face, WorkerJob, Prepared, Order)


def alive(*kinds):
    return [thing for thing in gc.get_objects() if issubclass(type(thing), kinds)]


def newer(before, after):
    """What other tests have left is not ours."""
    known = {id(thing) for thing in before}
    return [type(thing).__name__ for thing in after if id(thing) not in known]


def test_who_reads_the_messages_keeps_none(astronaut):
    class Channel:
        def __init__(self):
            self.messages = [portrait_order(astronaut, "first"), portrait_order(astronaut, "second")]

        def read(self):
            if self.messages:
                return self.messages.pop(0)
            self.left = newer(before, alive(Order))
            return None

    class Forgetful:
        def receive(self, message):
            pass

    before = alive(Order)
    channel = Channel()
    feed(channel, Forgetful())
    assert channel.left == []


def test_a_failed_preparation_is_logged_with_its_job_and_trace(harness, astronaut, caplog, monkeypatch):
    monkeypatch.setattr(Preparer, "prepare", failing_with(RuntimeError("a secret prompt")))
    traceparent = f"00-{'a' * 32}-{'b' * 16}-01"
    harness.worker.receive(portrait_order(astronaut, "traced", traceparent=traceparent))
    assert harness.wait(Failed, "traced").code == "preparation_failed"
    assert f"preparation of job traced (trace {traceparent}) failed: RuntimeError at" in caplog.text
    assert "secret" not in caplog.text


def test_no_log_line_holds_a_prompt_or_a_pixel(harness, astronaut, caplog, monkeypatch):
    monkeypatch.setattr(Denoiser, "predict", failing_with(RuntimeError("a secret prompt")))
    harness.worker.receive(portrait_order(astronaut, prompt="secret woman"))
    harness.wait(Failed)
    assert "RuntimeError at" in caplog.text
    assert "secret" not in caplog.text
