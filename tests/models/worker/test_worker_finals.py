"""Identities and finals through the real worker, on tiny random weights in the published layout."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from models.engine.engine import Engine
from models.wire.events import Done, Failed, Portrait, Started, Stepped
from models.wire.messages import Cancel
from models.wire.order import Final
from models.worker.job import WorkerJob
from models.worker.loading import load_parts
from models.worker.preparation import Preparer
from tests.models.running import picture_of, pixels_of, portrait_order


def made(harness, order):
    harness.worker.receive(order)
    harness.wait(Done, order.job_id)
    return [message for message in harness.of(order.job_id) if isinstance(message, Portrait)]


def enrolled(harness, astronaut):
    """The identity's bytes."""
    harness.worker.receive(portrait_order(astronaut, "enrolment", seeds=(), prompt="", wants_identity=True))
    harness.wait(Done, "enrolment")
    return harness.wait(Started, "enrolment").identity


def remembered(astronaut, identity, job_id="token", **changes):
    return portrait_order(astronaut, job_id, selfies=[], identity=identity, format="png", **changes)


# ---- identities


def test_an_enrolment_judges_and_encodes_and_draws_nothing(harness, astronaut):
    identity = enrolled(harness, astronaut)
    kinds = [type(message) for message in harness.of("enrolment")]
    assert kinds == [Started, Done]
    started = harness.wait(Started, "enrolment")
    assert [report.verdict for report in started.faces] == ["ok"]
    assert 50 < len(identity) < 1000
    assert harness.wait(Done, "enrolment").timings.steps_ms == 0
    assert harness.worker.is_idle


def test_a_bad_photo_is_refused_at_enrolment(harness, astronaut):
    harness.worker.receive(portrait_order(picture_of(skimage.data.coffee()), seeds=(), prompt="", wants_identity=True))
    assert harness.wait(Failed).code == "no_face"


def test_a_token_makes_the_same_picture_as_its_selfies_to_the_bit(harness, astronaut):
    identity = enrolled(harness, astronaut)
    [first] = made(harness, portrait_order(astronaut, "selfies", seeds=(7,), format="png"))
    [second] = made(harness, remembered(astronaut, identity, seeds=(7,)))
    assert first.data == second.data
    done = harness.wait(Done, "token")
    assert done.timings.face_ms == 0
    assert done.timings.identity_ms < 2  # it is about 0.1 on two cores; the bound is our promise
    assert harness.wait(Started, "token").faces == []


@pytest.mark.parametrize(("framing", "told"), [(None, "front"), ("closer", "closer")])
def test_started_tells_where_the_face_goes_with_the_bundles_default_filled_in(harness, astronaut, framing, told):
    made(harness, portrait_order(astronaut, framing=framing))
    assert harness.wait(Started, "job").placing.framing == told


def test_an_identity_is_sent_only_where_it_is_wanted(harness, astronaut):
    made(harness, portrait_order(astronaut))
    assert harness.wait(Started, "job").identity is None


def test_a_damaged_identity_fails_its_job_with_its_code(harness, astronaut):
    harness.worker.receive(remembered(astronaut, enrolled(harness, astronaut)[:-7]))
    failed = harness.wait(Failed)
    assert (failed.code, failed.fault) == ("identity_malformed", "caller")


def test_the_prompts_budget_counts_the_tokens_of_an_identity(harness, astronaut):
    identity = enrolled(harness, astronaut)
    harness.worker.receive(remembered(astronaut, identity, prompt="photo of a woman " + "very " * 90))
    assert harness.wait(Failed).code == "prompt_too_long"


# ---- finals


def test_a_final_is_larger_and_tells_its_steps_over_both_phases(harness, astronaut):
    [portrait] = made(harness, portrait_order(astronaut, format="png", final=Final()))
    assert (portrait.width, portrait.height) == (128, 128)
    assert pixels_of(portrait.data).shape == (128, 128, 3)
    started = harness.wait(Started)
    assert (started.sampling.size, started.sampling.steps) == ("128x128", 4 + 3)
    steps = [(message.step, message.steps) for message in harness.of("job") if isinstance(message, Stepped)]
    assert steps == [(step, 7) for step in range(1, 8)]


def test_a_final_is_the_same_picture_whenever_it_is_made(harness, astronaut):
    first, second = (made(harness, portrait_order(astronaut, job, format="png", final=Final())) for job in ("a", "b"))
    assert first[0].data == second[0].data


def test_a_final_takes_the_size_of_its_pictures_shape(harness, astronaut):
    [portrait] = made(harness, portrait_order(astronaut, "wide", width=96, height=64, final=Final()))
    assert (portrait.width, portrait.height) == (192, 128)
    harness.worker.receive(portrait_order(astronaut, "wrong", width=96, height=64, final=Final(size="128x128")))
    failed = harness.wait(Failed, "wrong")
    assert (failed.code, failed.limit) == ("unknown_size", "192x128")


def test_a_cancelled_final_leaves_from_its_second_phase(harness, astronaut):
    harness.worker.receive(portrait_order(astronaut, "final", seeds=(1, 2), final=Final()))
    harness.wait_until(lambda: sum(isinstance(message, Stepped) for message in harness.of("final")) >= 2 * 4)
    harness.worker.receive(Cancel(job_id="final"))
    made(harness, portrait_order(astronaut, "next"))
    assert harness.worker.is_idle


def test_the_previews_latents_are_made_again_to_the_bit(setup, astronaut):
    parts = load_parts(setup)
    preparer = Preparer(parts.bundle, parts.analyzer)
    preview, final = (
        preparer.prepare(WorkerJob.accept(portrait_order(astronaut, sampler="lcm", final=wanted), 0.0)).rows[0]
        for wanted in (None, Final())
    )
    engine = Engine(parts.bundle.stacks["photomaker"].denoiser, parts.bundle.decoder, buckets=(1,))
    for row in (preview, final):
        engine.add(row)
        while engine.has_work:
            engine.tick()
    assert torch.equal(preview.latent, final.latent)


# ---- what leaves


def test_a_mark_is_written_across_previews_and_their_steps_and_never_on_a_final(harness, astronaut):
    plain, marked, final, unmarked = (
        made(harness, portrait_order(astronaut, job, format="png", mark=mark, final=wanted))[0]
        for job, mark, wanted in (
            ("plain", None, None),
            ("marked", "PROOF", None),
            ("final", None, Final()),
            ("again", None, None),
        )
    )
    assert plain.data == unmarked.data
    difference = np.abs(pixels_of(plain.data).astype(int) - pixels_of(marked.data))
    assert 0.05 < (difference.max(axis=2) > 8).mean() < 0.6
    assert pixels_of(final.data).shape == (128, 128, 3)


@pytest.mark.parametrize(("size", "side", "expected"), [((64, 64), 32, (32, 32)), ((96, 64), 48, (48, 32))])
def test_a_small_preview_keeps_its_shape(harness, astronaut, size, side, expected):
    width, height = size
    [portrait] = made(harness, portrait_order(astronaut, width=width, height=height, longest_side=side))
    assert (portrait.width, portrait.height) == expected
    assert Image.open(io.BytesIO(portrait.data)).size == expected
