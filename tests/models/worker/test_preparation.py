"""What the preparation thread refuses, on the embedded bundle with drawn people. Needs skia (the `train` extra)."""

import numpy as np
import pytest
import skimage.data

from models.faces.agreement import SAME_PERSON
from models.faces.face_cache import FaceCache
from models.faces.judge import PhotoLimits, judge
from models.wire.picture import Picture
from models.wire.setup import Setup
from models.worker.job import JobRefused, WorkerJob
from models.worker.loading import load_parts
from models.worker.preparation import Preparer
from scripts.train_tiny.drawing.person import draw_identity
from scripts.train_tiny.drawing.pose import selfie_pose
from scripts.train_tiny.drawing.render import render
from scripts.train_tiny.drawing.style import plain_style
from tests.orders import order_of


@pytest.fixture(scope="module")
def parts():
    return load_parts(Setup(device="cpu"))


@pytest.fixture(scope="module")
def preparer(parts):
    return Preparer(parts.bundle, parts.analyzer)


def selfies(parts, index, count):
    """The first `count` selfies of one person that the photo judge takes."""
    rng = np.random.default_rng([4177, 1_000_000 + index])
    person, taken = draw_identity(rng, index), []
    while len(taken) < count:
        pixels = render(person, plain_style(rng), selfie_pose(rng)).pixels
        if judge(pixels, parts.analyzer.analyze(pixels), PhotoLimits(), "largest").is_ok:
            taken.append(Picture(width=256, height=256, rgb=pixels.tobytes()))
    return taken


def prepare(preparer, pictures, **more):
    request = order_of(
        job_id="job", selfies=pictures, prompt="portrait photo of a person", seeds=[1], deadline_seconds=600, **more
    )
    return preparer.prepare(WorkerJob.accept(request, 0.0))


def test_selfies_of_different_people_are_refused_with_the_likeness_of_every_pair(parts, preparer):
    [first, again], [other] = selfies(parts, 0, 2), selfies(parts, 18, 1)
    assert len(prepare(preparer, [first, again]).rows) == 1
    with pytest.raises(JobRefused) as caught:
        prepare(preparer, [first, other, again], disagreeing="refuse")
    failed = caught.value.failed
    assert (failed.code, failed.fault, failed.selfie) == ("identities_disagree", "caller", 1)
    assert failed.message.startswith("The selfies seem to be of 2 people (counted from 0: 0 and 2; 1).")
    likeness = np.array(failed.likeness)
    threshold = SAME_PERSON["proofsheet-tiny"]
    assert likeness.shape == (3, 3)
    assert likeness[0, 2] >= threshold > failed.value == max(likeness[0, 1], likeness[2, 1])
    assert failed.limit == threshold


def test_unless_that_is_asked_for_they_are_drawn_with_a_warning_about_the_pairs(parts, preparer):
    [first, again], [other] = selfies(parts, 0, 2), selfies(parts, 18, 1)
    prepared = prepare(preparer, [first, other, again])
    assert len(prepared.rows) == 1
    [warning] = prepared.started.warnings
    assert warning.code == "identities_disagree"
    assert warning.message.startswith("The selfies seem to be of 2 people (counted from 0: 0 and 2; 1).")
    assert [pair.selfies for pair in warning.pairs] == [(0, 1), (1, 2)]
    assert max(pair.likeness for pair in warning.pairs) == warning.value < warning.limit
    assert prepare(preparer, [first, again]).started.warnings == []


def test_a_style_lora_that_the_bundle_does_not_have_is_refused(parts, preparer):
    request = order_of(
        job_id="job",
        selfies=selfies(parts, 0, 1),
        prompt="portrait photo of a person",
        seeds=[1],
        deadline_seconds=600,
        lora="film",
    )
    with pytest.raises(JobRefused) as caught:
        preparer.prepare(WorkerJob.accept(request, 0.0))
    assert caught.value.failed.code == "unknown_lora"
    assert caught.value.failed.message == "The lora 'film' is not available here; there is none to choose."


@pytest.mark.parametrize("adapter", ["photomaker-v2", "photomaker", "instantid"])
def test_an_identity_brings_what_its_selfies_and_its_pose_photo_brought(parts, preparer, adapter):
    """To the bit: so that a final, which has neither photo, begins with its preview's own latents."""
    [selfie], [pose] = selfies(parts, 0, 1), selfies(parts, 18, 1)
    given = {
        "job_id": "job",
        "prompt": "portrait photo of a person",
        "adapter": adapter,
        "seeds": [1],
        "deadline_seconds": 600,
        "framing": "selfie",
    }
    photos = {"selfies": [selfie], "pose": pose if adapter == "instantid" else None, "wants_identity": True}
    first = preparer.prepare(WorkerJob.accept(order_of(**given, **photos), 0.0))
    second = preparer.prepare(WorkerJob.accept(order_of(**given, selfies=[], identity=first.started.identity), 0.0))
    [one], [other] = first.rows, second.rows
    assert np.array_equal(one.conditioning.personal.embeds, other.conditioning.personal.embeds)
    if adapter == "instantid":
        [control], [again] = one.conditioning.controls, other.conditioning.controls
        assert np.array_equal(control.hint, again.hint)
        assert np.array_equal(one.conditioning.image.keys_values, other.conditioning.image.keys_values)
    assert len(first.started.identity) < 5000


@pytest.mark.parametrize("adapter", ["photomaker-v2", "photomaker", "instantid"])
@pytest.mark.parametrize("turns", [1, 2])
def test_a_photo_on_its_side_brings_what_it_brings_upright(parts, preparer, adapter, turns):
    def enrolled(pixels):
        picture = Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.tobytes())
        return prepare(preparer, [picture], adapter=adapter, wants_identity=True).started

    photo = skimage.data.astronaut()[:400]
    upright, sideways = enrolled(photo), enrolled(np.ascontiguousarray(np.rot90(photo, turns)))
    assert sideways.identity == upright.identity
    assert sideways.faces[0].box == upright.faces[0].box
    assert "turned" in sideways.faces[0].notes[0]


def test_a_pose_photo_on_its_side_stands_as_it_does_upright(preparer):
    photo = skimage.data.astronaut()[:400]
    poses = [
        preparer._find_pose(
            order_of(job_id="job", selfies=[], prompt="x", seeds=[1], deadline_seconds=9, pose=picture_of(pixels)),
            FaceCache(preparer._analyzer),
        )
        for pixels in (photo, np.ascontiguousarray(np.rot90(photo)))
    ]
    assert poses[0].size == poses[1].size == (512, 400)
    assert np.array_equal(poses[0].landmarks, poses[1].landmarks)


def picture_of(pixels):
    return Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.tobytes())
