"""With a real UNet: a row's picture depends on its own request, not on who else is in the batch."""

import math

import pytest
import torch

from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.engine.variance_preserving import VariancePreserving
from scripts.golden.photomaker import PhotoMakerFolder, face_of, picture_of
from tests.models.conftest import GOLDEN
from tests.models.scenes import scene_of

CPU = torch.device("cpu")


class LatentDecoder:
    """Keeps the latent, so that the comparison sees all of its bits."""

    def decode(self, latents):
        return latents


@pytest.fixture(scope="module")
def maker():
    return PhotoMakerFolder(GOLDEN).maker("v1")


@pytest.fixture(scope="module")
def people(maker):
    data = PhotoMakerFolder(GOLDEN).tensors("pipeline_v1_cfg5_merge0_3img_2out")
    return [maker[0].identity([picture_of(data[f"in.image.{i}"])], [face_of(None)]) for i in range(3)]


def make_row(maker, person, *, seed, sampler="euler", steps=4, strength=1.0, guidance=1.0):
    scene = scene_of(
        prompt="portrait photo of a man wearing a hat",
        negative_prompt="blurry",
        subject="man",
        width=64,
        height=64,
        steps=steps,
        strength=strength,
        guidance=guidance,
    )
    plan = make_plan(sampler, steps, VariancePreserving())
    return Row(
        job_id=f"job-{seed}",
        index=0,
        seed=seed,
        key=BatchKey("golden", "photomaker", 64, 64, guidance > 1),
        plan=plan,
        conditioning=maker.condition(person, scene),
        guidance=guidance,
        deadline=math.inf,
        latent=initial_latent(seed, plan, (4, 8, 8), CPU),
    )


def run(denoiser, rows, buckets):
    engine = Engine(denoiser, LatentDecoder(), buckets=buckets)
    for row in rows:
        engine.add(row)
    while engine.has_work:
        engine.tick()
    return [row.latent for row in rows]


@pytest.mark.parametrize("guidance", [1.0, 5.0], ids=["unguided", "guided"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_same_bucket_other_mates_other_place_gives_the_same_bits(maker, people, guidance, place):
    adapter, denoiser = maker
    [expected, *_] = run(denoiser, [make_row(adapter, people[0], seed=1, guidance=guidance) for _ in range(4)], (4,))
    rows = [
        make_row(
            adapter, people[1 + i % 2], seed=50 + i, sampler=("lcm", "tcd", "euler-ancestral")[i], guidance=guidance
        )
        for i in range(3)
    ]
    rows.insert(place, make_row(adapter, people[0], seed=1, guidance=guidance))
    latents = run(denoiser, rows, (4,))
    assert torch.equal(latents[place], expected)


def test_across_buckets_the_difference_stays_under_1e_4(maker, people):
    adapter, denoiser = maker
    [alone] = run(denoiser, [make_row(adapter, people[0], seed=1)], (1,))
    rows = [make_row(adapter, people[i % 3], seed=1 + i) for i in range(8)]
    among_eight = run(denoiser, rows, (8,))[0]
    assert (alone - among_eight).abs().max() <= 1e-4


def test_strength_0_equals_another_person_at_strength_0_and_more_strength_does_not(maker, people):
    adapter, denoiser = maker

    def latent(person, strength):
        return run(denoiser, [make_row(adapter, person, seed=1, strength=strength)], (1,))[0]

    assert torch.equal(latent(people[0], 0.0), latent(people[1], 0.0))
    assert (latent(people[0], 1.0) - latent(people[1], 1.0)).abs().max() > 1e-3
