"""How the tiny decoder is taught to be sharp, and faces on dark skin to be there."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scripts.train_tiny.drawing.light import contrasty
from scripts.train_tiny.drawing.person import MOST_CARE, SKIN, care_for, draw_identity, measures
from scripts.train_tiny.drawing.pose import portrait_pose
from scripts.train_tiny.drawing.render import render
from scripts.train_tiny.drawing.shards import write_shards
from scripts.train_tiny.drawing.style import draw_style
from scripts.train_tiny.lessons import precision
from scripts.train_tiny.lessons.classroom import face_weight
from scripts.train_tiny.lessons.discriminator import Contest, sharpen_decoder
from scripts.train_tiny.lessons.precision import short_numbers
from scripts.train_tiny.lessons.recogniser import to_planes
from scripts.train_tiny.lessons.trainer import averaged_state, write_start
from scripts.train_tiny.lessons.vae import build_vae, draw_portraits, trained_vae

DARKEST = len(SKIN) - 1


def drawing(index, art="none", seed=3):
    rng = np.random.default_rng(seed)
    person, style, pose = draw_identity(rng, index), draw_style(rng), portrait_pose(rng)
    return person, render(person, dataclasses.replace(style, place="studio", light="soft", art=art), pose)


def faces(number):
    """[N, 3, 64, 64]: middles of drawings, at half size."""
    pictures = to_planes([drawing(index, seed=index)[1].pixels for index in range(number)]) * 2 - 1
    return F.avg_pool2d(pictures[:, :, 64:192, 64:192], 2)


def blurred(pictures):
    return F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


@pytest.fixture(scope="module")
def contest():
    torch.manual_seed(0)
    return Contest(build_vae())


# ---- the contest


def test_the_discriminator_learns_to_tell_a_drawing_from_its_blur(contest):
    drawn = faces(12)
    taught, others = drawn[:8], drawn[8:]
    optimizer = torch.optim.AdamW(contest.discriminator.parameters(), 2e-3)
    for _ in range(60):
        loss = contest.terms(blurred(taught), taught)["telling"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        sharp, soft = (contest.discriminator(x)[1].mean() for x in (others, blurred(others)))
        fooled = [contest.terms(made, others)["fooling"] for made in (others, blurred(others))]
    assert sharp > soft + 0.2
    assert fooled[0] < fooled[1]  # what seems drawn costs the decoder less


def test_the_decoder_hears_its_terms_and_the_discriminator_its_own_alone(contest):
    drawn = faces(2)
    made = blurred(drawn).requires_grad_(True)
    terms = contest.terms(made, drawn)
    own = list(contest.discriminator.parameters())
    for name in ("texture", "fooling"):
        assert torch.autograd.grad(terms[name], made, retain_graph=True)[0].abs().sum() > 0
        assert not any(
            g is not None for g in torch.autograd.grad(terms[name], own, retain_graph=True, allow_unused=True)
        )
    assert torch.autograd.grad(terms["telling"], made, retain_graph=True, allow_unused=True)[0] is None
    assert any(g.abs().sum() > 0 for g in torch.autograd.grad(terms["telling"], own))


def test_a_sharper_decoder_leaves_the_encoder_as_it_was_and_is_what_trained_vae_gives(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.train_tiny.drawing.shards.PEOPLE", 4)
    write_shards(tmp_path / "shards", [0], seed=5)
    before = build_vae()
    write_start("decoder", before, tmp_path)
    sharpen_decoder(tmp_path / "shards", tmp_path, budget_seconds=0.01)
    after, saved = trained_vae(tmp_path), averaged_state(tmp_path, "sharper")
    assert {key.partition(".")[0] for key in saved} == {"vae", "discriminator"}
    assert all(torch.equal(a, b) for a, b in zip(after.encoder.parameters(), before.encoder.parameters(), strict=True))
    changed = [
        not torch.equal(a, b) for a, b in zip(after.decoder.parameters(), before.decoder.parameters(), strict=True)
    ]
    assert all(changed)


# ---- dark skin


def test_faces_count_more_the_darker_their_skin_and_light_ones_as_before():
    people = [draw_identity(np.random.default_rng(tone), tone) for tone in range(len(SKIN))]
    cares = [care_for(measures(person)) for person in people]
    assert cares[:4] == [1.0] * 4
    assert cares == sorted(cares)
    assert cares[DARKEST] == MOST_CARE


def test_care_multiplies_what_a_face_counts_more_and_nothing_else():
    landmarks = torch.from_numpy(drawing(5)[1].landmarks)
    plain, cared = face_weight(landmarks)[0].numpy(), face_weight(landmarks, 4.0)[0].numpy()
    assert plain.mean() == pytest.approx(1)
    assert np.ptp(4 * plain - cared) == pytest.approx(0, abs=1e-5)  # three times the weight of what is no face
    x, y = (int(c // 16) for c in landmarks[2])
    assert cared[y, x] > 2.5 * plain[y, x]


def test_portraits_are_drawn_with_their_people_s_care():
    class Two:
        def people(self, number):
            return [(self, 0), (self, 1)]

        def portrait(self, person, k):
            return drawing((0, DARKEST)[person])[1].pixels

        portrait_landmarks = np.stack([[drawing(index)[1].landmarks] * 3 for index in (0, DARKEST)])
        measures = np.stack([measures(drawing(index)[0]) for index in (0, DARKEST)])

    _, weights = draw_portraits(Two(), 2, np.random.default_rng(0))
    light, dark = weights[:, 0].numpy()
    assert dark[128, 128] > 2 * light[128, 128]
    assert dark[2, 2] == pytest.approx(light[2, 2], rel=0.01)


@pytest.mark.parametrize("art", ["black and white", "cinematic", "comic"])
def test_no_art_direction_takes_the_features_out_of_the_darkest_faces(art):
    def detail(picture):
        left, top = picture.landmarks.min(axis=0).astype(int) - 12
        right, bottom = picture.landmarks.max(axis=0).astype(int) + 12
        return picture.pixels[top:bottom, left:right].mean(axis=2).std()

    def brightness(picture):
        x, y = picture.landmarks[2].astype(int)
        return picture.pixels[y - 20 : y + 20, x - 30 : x + 30].mean()

    plain, graded = drawing(DARKEST)[1], drawing(DARKEST, art)[1]
    assert detail(graded) > 0.75 * detail(plain)
    assert brightness(graded) > 0.7 * brightness(plain)


def test_contrast_keeps_black_and_white_and_all_between_in_order():
    shares = np.linspace(0, 1, 101)
    steeper = contrasty(shares, 1.2)
    assert steeper[[0, 50, 100]] == pytest.approx([0, 0.5, 1])
    assert np.all(np.diff(steeper) > 0)
    assert np.diff(steeper)[50] == pytest.approx(0.012, rel=0.01)
    assert np.all(steeper[1:30] > 0.75 * shares[1:30])


# ---- numbers


@pytest.mark.parametrize(("abilities", "pays"), [({"avx512_bf16": True}, True), ({"avx2": True}, False)])
def test_numbers_are_short_only_where_the_processor_multiplies_them(abilities, pays, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    precision.has_short_numbers.cache_clear()
    try:
        with short_numbers():
            product = torch.ones(2, 2) @ torch.ones(2, 2)
    finally:
        precision.has_short_numbers.cache_clear()
    assert product.dtype == (torch.bfloat16 if pays else torch.float32)
