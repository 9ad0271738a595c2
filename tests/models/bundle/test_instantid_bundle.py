"""InstantID through the whole worker, beside PhotoMaker: the embedded bundle."""

import dataclasses
import io
import time

import msgspec
import numpy as np
import pytest
import skimage.data
from PIL import Image

from models.bundle.bundle import load_bundle
from models.faces.analyzers import load_analyzer
from models.weights.manifest import PACKAGE, read_manifest
from models.wire.events import Done, Failed, Portrait, Started
from models.wire.picture import Picture
from models.wire.reports import Ready
from models.wire.setup import Setup
from models.worker.job import WorkerJob
from models.worker.preparation import Preparer
from tests.models.running import Harness
from tests.orders import order_of


@pytest.fixture(scope="module")
def harness():
    harness = Harness(Setup(bundle="tiny", device="cpu", max_rows=2))
    harness.wait(Ready)
    yield harness
    harness.stop()


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(read_manifest(), "tiny")


@pytest.fixture(scope="module")
def analyzer():
    return load_analyzer("bundled", bundled_dir=PACKAGE / "tiny", faces_dir=None, device="cpu", threads=1)


def picture_of(pixels):
    return Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=np.ascontiguousarray(pixels).tobytes())


ASTRONAUT = picture_of(skimage.data.astronaut())
NO_FACE = picture_of(np.full((256, 256, 3), 120, np.uint8))


def instantid_order(job_id, **changes):
    given = {
        "job_id": job_id,
        "selfies": [ASTRONAUT],
        "prompt": "portrait photo of a woman",
        "subject": "woman",
        "seeds": [3],
        "format": "png",
        "adapter": "instantid",
        "deadline_seconds": 60.0,
    }
    return order_of(**(given | changes))


def portrait(harness, job_id, **changes):
    """Pixels of the job's one picture, float."""
    harness.worker.receive(instantid_order(job_id, **changes))
    harness.wait(Done, job_id)
    sent = harness.wait(Portrait, job_id)
    return np.asarray(Image.open(io.BytesIO(sent.data))).astype(float)


def test_ready_names_every_adapter_and_its_memory(harness):
    adapters = {one.name: one for one in harness.wait(Ready).bundle.adapters}
    assert adapters.keys() == {"photomaker-v2", "photomaker", "instantid"}
    assert [name for name, one in adapters.items() if one.takes_pose] == ["instantid"]
    assert all(one.own_bytes > 0 for one in adapters.values())


@pytest.mark.parametrize("adapter", ["photomaker-v2", "photomaker", "instantid"])
def test_a_job_of_each_adapter_runs_to_its_end(harness, adapter):
    pixels = portrait(harness, f"each-{adapter}", adapter=adapter)
    assert pixels.shape == (256, 256, 3)
    assert harness.wait(Started, f"each-{adapter}").adapter == adapter


def test_the_same_request_gives_the_same_picture_and_a_framing_another(harness):
    first, again, closer, unsaid = (
        portrait(harness, f"framing-{i}", framing=framing)
        for i, framing in enumerate(["front", "front", "closer", None])
    )
    assert np.array_equal(first, again)
    assert np.abs(first - closer).max() > 1
    assert harness.wait(Ready).bundle.default_framing == "closer"
    assert np.array_equal(unsaid, closer)


def test_the_two_pictures_of_a_job_share_the_person_and_differ_by_seed(harness):
    harness.worker.receive(instantid_order("two", seeds=[3, 4]))
    harness.wait(Done, "two")
    pictures = {m.index: m.data for m in harness.of("two") if isinstance(m, Portrait)}
    assert len(pictures) == 2
    assert pictures[0] != pictures[1]


def test_a_pose_photo_places_the_face(harness):
    mirrored = picture_of(skimage.data.astronaut()[:, ::-1])
    posed = portrait(harness, "posed", pose=mirrored)
    assert np.abs(posed - portrait(harness, "unposed", framing="selfie")).max() > 1


def test_a_pose_photo_without_a_face_is_refused_with_what_to_do(harness):
    harness.worker.receive(instantid_order("faceless", pose=NO_FACE))
    failed = harness.wait(Failed, "faceless")
    assert (failed.code, failed.fault) == ("pose_no_face", "caller")
    assert failed.message == (
        "No face was found in the pose photo. Send one that shows a whole face, or leave it out and choose a framing."
    )


def preparer(bundle, analyzer, **info):
    return Preparer(dataclasses.replace(bundle, info=msgspec.structs.replace(bundle.info, **info)), analyzer)


def prepare(preparer, **changes):
    return preparer.prepare(WorkerJob.accept(instantid_order("prepared", **changes), time.monotonic()))


SDXL_SIZES = [(1024, 1024), (896, 1152), (832, 1216), (768, 768)]


def test_the_size_with_watermarks_is_no_default_but_served_when_asked_for(bundle, analyzer):
    sdxl = preparer(bundle, analyzer, default_size=(1024, 1024), sizes=SDXL_SIZES)
    assert prepare(sdxl, strength=0.0).rows[0].latent.shape[1:] == (1152 // 16, 896 // 16)
    assert prepare(sdxl, strength=0.0, width=1024, height=1024).rows[0].key.width == 1024
    assert prepare(sdxl, adapter="photomaker-v2").rows[0].key.width == 1024


def test_with_no_other_size_the_default_stays(bundle, analyzer):
    one = preparer(bundle, analyzer, default_size=(1024, 1024), sizes=[(1024, 1024)])
    assert prepare(one, strength=0.0).rows[0].key.width == 1024


def test_rows_of_every_adapter_and_strength_may_share_a_batch(bundle, analyzer):
    ours = preparer(bundle, analyzer)
    keys = [prepare(ours, strength=strength).rows[0].key for strength in (0.0, 1.0)]
    keys += [prepare(ours, adapter=adapter).rows[0].key for adapter in ("photomaker-v2", "photomaker")]
    assert keys == [keys[0]] * 4


def test_wishes_reach_the_row(bundle, analyzer):
    [row] = prepare(
        preparer(bundle, analyzer),
        strength=0.5,
        control_strength=1.0,
        control_window=(0.0, 0.5),
        region="face",
        framing="wider",
    ).rows
    [control] = row.conditioning.controls
    assert (row.conditioning.image.scale, control.scale) == (0.4, 0.8)
    assert list(control.steps) == [0, 1]
    assert control.region is row.conditioning.image.region is not None
