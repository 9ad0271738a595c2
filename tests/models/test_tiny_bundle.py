"""The embedded bundle, asked the real question: does the person in the selfie reach the picture, and stay in it?

The people are drawn here and were in nobody's training set. Needs skia (the `train` extra, part of `make test`).
"""

import math

import numpy as np
import pytest
import torch

from models.adapters.adapter import Wish
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row
from models.faces.face import Face
from models.faces.network import Network
from models.faces.recogniser import Recogniser
from models.messages import Picture
from models.weights.bundle import load_bundle
from models.weights.manifest import PACKAGE, read_manifest
from scripts.train_tiny.identity import draw_identity
from scripts.train_tiny.pose import selfie_pose
from scripts.train_tiny.render import render
from scripts.train_tiny.sample import load_sampler
from scripts.train_tiny.style import plain_style

MEGABYTE = 1_000_000
SPACE = "proofsheet-tiny"
PROMPT = "portrait photo of a person wearing a navy suit, plain grey studio background, soft light"
LIGHT, DARK = (0, 1, 10, 11), (8, 9, 18, 19)  # draw_identity's index is the Monk tone, modulo 10
CHEEKS = (slice(120, 160), slice(96, 160))  # of 256: the middle of the face in every portrait


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(read_manifest(), "tiny")


@pytest.fixture(scope="module")
def stack(bundle):
    return bundle.stacks["photomaker-v2"]


@pytest.fixture(scope="module")
def selfies():
    """(picture, face) of eight drawn people, four of them light and four dark."""
    network = Network((PACKAGE / "tiny" / "faces" / "recogniser.onnx").read_bytes(), device="cpu", threads=1)
    recogniser = Recogniser(network, SPACE, smooth=True)
    return {index: draw_selfie(recogniser, index) for index in (*LIGHT, *DARK)}


def draw_selfie(recogniser, index):
    rng = np.random.default_rng([977, index])
    drawn = render(draw_identity(rng, index), plain_style(rng), selfie_pose(rng))
    face = Face((0, 0, 256, 256), drawn.landmarks, 1.0, recogniser.embedding(drawn.pixels, drawn.landmarks), SPACE)
    return Picture(width=256, height=256, rgb=drawn.pixels.tobytes()), face


def make_row(bundle, stack, selfie, *, index=0, noise_seed=5, strength=1.0, prompt=PROMPT):
    wish = Wish(
        prompt=prompt,
        negative_prompt=None,
        subject="person",
        width=256,
        height=256,
        num_steps=4,
        strength=strength,
        guided=False,
    )
    plan = make_plan("euler", 4, bundle.schedule)
    identity = stack.adapter.identity([selfie[0]], [selfie[1]])
    return Row(
        job_id="test",
        index=index,
        seed=0,
        key=BatchKey("tiny", stack.adapter.name, 256, 256, False),
        plan=plan,
        conditioning=stack.adapter.condition(identity, wish),
        guidance=1.0,
        deadline=math.inf,
        latent=unit_noise(noise_seed) * plan.initial_scale,
    )


def unit_noise(seed):
    return torch.randn(1, 16, 16, 16, generator=torch.Generator().manual_seed(seed))[0]


def run(bundle, stack, rows):
    """Pictures [n, 256, 256, 3] in the order of `rows`, made in one batch."""
    engine = Engine(stack.denoiser, bundle.decoder, buckets=(len(rows),))
    for row in rows:
        engine.add(row)
    finished = []
    while engine.has_work:
        finished += engine.tick().finished
    return np.stack([f.pixels.numpy() for f in sorted(finished, key=lambda f: rows.index(f.row))]).astype(float)


def test_it_fits_into_the_repository_and_may_be_used_for_anything(bundle):
    assert sum(file.bytes for file in bundle.info.files) <= 25 * MEGABYTE
    assert {file.licence for file in bundle.info.files} == {"CC0-1.0"}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' scheduler
def test_the_engine_makes_the_picture_that_diffusers_makes_of_the_same_files(bundle, stack, selfies):
    sampler = load_sampler(PACKAGE / "tiny")
    picture, face = selfies[1]
    pixels = np.frombuffer(picture.rgb, np.uint8).reshape(256, 256, 3)
    expected = sampler.portrait(
        sampler.identity(pixels, face.landmarks), PROMPT.replace("person", "person img"), seed=5
    )
    [made] = run(bundle, stack, [make_row(bundle, stack, selfies[1])])
    assert np.abs(made - expected).mean() < 0.5
    assert np.abs(made - expected).max() <= 8  # the two crop the face with other resamplers


def test_skin_tones_of_strangers_in_one_batch_stay_with_their_owners(bundle, stack, selfies):
    """Same prompt, same noise: what differs is the person. A wiring mistake, or a leak between rows, mixes them."""
    order = [index for pair in zip(LIGHT, DARK, strict=True) for index in pair]
    made = run(bundle, stack, [make_row(bundle, stack, selfies[i], index=n) for n, i in enumerate(order)])
    luma = {index: picture[CHEEKS].mean() for index, picture in zip(order, made, strict=True)}
    lightest_dark, darkest_light = max(luma[i] for i in DARK), min(luma[i] for i in LIGHT)
    assert darkest_light - lightest_dark > 15, luma


def test_strength_0_shows_nobody_and_strength_1_shows_the_person(bundle, stack, selfies):
    light, dark = selfies[LIGHT[0]], selfies[DARK[0]]
    none = run(bundle, stack, [make_row(bundle, stack, s, index=i, strength=0.0) for i, s in enumerate((light, dark))])
    full = run(bundle, stack, [make_row(bundle, stack, s, index=i, strength=1.0) for i, s in enumerate((light, dark))])
    assert np.abs(none[0] - none[1]).max() <= 1
    assert np.abs(full[0] - full[1]).mean() > 5


def test_another_style_changes_the_clothes_and_keeps_the_skin(bundle, stack, selfies):
    red = PROMPT.replace("navy suit", "red hoodie")
    navy_picture, red_picture = run(
        bundle, stack, [make_row(bundle, stack, selfies[1]), make_row(bundle, stack, selfies[1], index=1, prompt=red)]
    )
    clothes = (slice(226, 256), slice(90, 166))
    red_over_blue = [
        picture[clothes][..., 0].mean() - picture[clothes][..., 2].mean() for picture in (navy_picture, red_picture)
    ]
    assert red_over_blue[1] - red_over_blue[0] > 30
    assert np.abs(navy_picture[CHEEKS].mean((0, 1)) - red_picture[CHEEKS].mean((0, 1))).max() < 30
