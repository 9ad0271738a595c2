"""Rows of different people, keypoints, strengths and adapters in one call of one UNet: each is as if alone."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers.models.attention_processor import Attention

from models.adapters.adapter import Identity, Pose
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.engine.variance_preserving import VariancePreserving
from models.sdxl.attention import DecoupledAttention, ImagePrompt, stack_images
from models.sdxl.conditioning import RowConditioning
from models.sdxl.region import Region
from tests.models.scenes import scene_of

CPU = torch.device("cpu")
WIDTH, HEIGHT = 128, 192
ACROSS_BATCH_SIZES = 1e-5  # of the largest value: float32 sums in another order


class LatentDecoder:
    """Keeps the latent, so that the comparison sees all of its bits."""

    def decode(self, latents):
        return latents


@pytest.fixture(scope="module")
def adapter(records):
    return records.parts[0]


@pytest.fixture(scope="module")
def denoiser(records):
    return records.parts[1]


@pytest.fixture(scope="module")
def people(records, adapter):
    """Three of them, each with a face elsewhere in the picture."""
    generator = torch.Generator().manual_seed(11)
    embeddings = torch.randn(3, 1, 512, generator=generator)
    keypoints = records.shared["in.kps"].numpy()
    return [
        Identity(e, Pose(keypoints + 9 * i, (20.0, 40.0, 100.0, 150.0), (WIDTH, HEIGHT)))
        for i, e in enumerate(embeddings)
    ]


def conditioning_of(adapter, person, *, guidance=1.0, steps=4, **changes):
    given = {
        "prompt": "portrait photo of a man wearing a hat",
        "negative_prompt": "blurry",
        "subject": "man",
        "width": WIDTH,
        "height": HEIGHT,
        "steps": steps,
        "strength": 1.0,
        "guidance": guidance,
        "framing": "selfie",
    }
    return adapter.condition(person, scene_of(**(given | changes)))


def make_row(conditioning, *, seed=1, sampler="euler", steps=4, guidance=1.0):
    plan = make_plan(sampler, steps, VariancePreserving())
    return Row(
        job_id=f"job-{seed}",
        index=0,
        seed=seed,
        key=BatchKey("golden", "plain", WIDTH, HEIGHT, guidance > 1),
        plan=plan,
        conditioning=conditioning,
        guidance=guidance,
        deadline=math.inf,
        latent=initial_latent(seed, plan, (4, HEIGHT // 8, WIDTH // 8), CPU),
    )


def run(denoiser, *rows):
    engine = Engine(denoiser, LatentDecoder(), buckets=(len(rows),))
    for row in rows:
        engine.add(row)
    while engine.has_work:
        engine.tick()
    return [row.latent for row in rows]


def is_close(result, expected):
    return (result - expected).abs().max() <= ACROSS_BATCH_SIZES * expected.abs().max()


def text_alone(conditioning):
    """The plain model's conditioning: what the text gives and nothing beside it."""
    return RowConditioning(
        personal=conditioning.personal,
        plain=conditioning.plain,
        merge_step=-1,
        negative=conditioning.negative,
        time_ids=conditioning.time_ids,
    )


@pytest.mark.parametrize("guidance", [1.0, 5.0], ids=["unguided", "guided"])
def test_strength_0_is_the_plain_model_to_the_bit(adapter, denoiser, people, guidance):
    nothing = conditioning_of(adapter, people[0], strength=0.0, guidance=guidance)
    [expected] = run(denoiser, make_row(text_alone(nothing), guidance=guidance))
    [result] = run(denoiser, make_row(nothing, guidance=guidance))
    [personal] = run(denoiser, make_row(conditioning_of(adapter, people[0], guidance=guidance), guidance=guidance))
    assert torch.equal(result, expected)
    assert (personal - expected).abs().max() > 0.01


@pytest.mark.parametrize("guidance", [1.0, 5.0], ids=["unguided", "guided"])
def test_a_row_without_a_person_is_untouched_by_people_beside_it(adapter, denoiser, people, guidance):
    plain = text_alone(conditioning_of(adapter, people[0], guidance=guidance))

    def beside(*mates):
        rows = [make_row(mate, seed=2 + i, guidance=guidance) for i, mate in enumerate(mates)]
        return run(denoiser, make_row(plain, guidance=guidance), *rows)[0]

    persons = [conditioning_of(adapter, person, guidance=guidance) for person in people[:2]]
    assert torch.equal(beside(*persons), beside(plain, plain))


@pytest.mark.parametrize("guidance", [1.0, 5.0], ids=["unguided", "guided"])
def test_a_row_alone_is_its_row_among_other_people_scales_samplers_and_adapters(adapter, denoiser, people, guidance):
    mine = conditioning_of(adapter, people[0], guidance=guidance)
    [alone] = run(denoiser, make_row(mine, guidance=guidance))
    mates = [
        make_row(
            conditioning_of(adapter, people[1], strength=0.3, guidance=guidance),
            seed=7,
            sampler="lcm",
            guidance=guidance,
        ),
        make_row(
            conditioning_of(adapter, people[2], framing="closer", region="face", steps=6, guidance=guidance),
            seed=8,
            steps=6,
            guidance=guidance,
        ),
        make_row(text_alone(mine), seed=9, guidance=guidance),
    ]
    among = run(denoiser, *mates, make_row(mine, guidance=guidance))[-1]
    assert is_close(alone, among)


@pytest.mark.parametrize(
    "changes",
    [{"strength": 0.2}, {"control_strength": 0.1}, {"framing": "wider"}, {"region": "face"}, {}],
    ids=["strength", "control", "keypoints", "region", "identity"],
)
def test_no_change_of_a_neighbour_leaks(adapter, denoiser, people, changes):
    mine = conditioning_of(adapter, people[0])
    [first, before] = run(denoiser, make_row(mine), make_row(conditioning_of(adapter, people[1]), seed=2))
    neighbour = people[1] if changes else people[2]
    [second, after] = run(denoiser, make_row(mine), make_row(conditioning_of(adapter, neighbour, **changes), seed=2))
    assert torch.equal(first, second)
    assert (before - after).abs().max() > 1e-3


def test_each_row_has_its_own_scale(adapter, denoiser, people):
    conditionings = [conditioning_of(adapter, people[0], strength=s, control_strength=0.0) for s in (0.2, 0.6, 1.0)]
    together = run(denoiser, *(make_row(c) for c in conditionings))
    for conditioning, latent in zip(conditionings, together, strict=True):
        [alone] = run(denoiser, make_row(conditioning))
        assert is_close(alone, latent)
    assert (together[0] - together[2]).abs().max() > 1e-3


def test_outside_its_window_the_keypoint_net_does_not_run(adapter, denoiser, people, monkeypatch):
    net = denoiser.nets["identity"]
    sizes = []
    original = net.residuals
    monkeypatch.setattr(net, "residuals", lambda latents, *rest: sizes.append(len(latents)) or original(latents, *rest))
    early = conditioning_of(adapter, people[0], control_window=(0.0, 0.5))
    never = conditioning_of(adapter, people[1], control_strength=0.0)
    run(denoiser, make_row(early), make_row(never, seed=2))
    assert sizes == [1, 1]


def test_a_window_without_a_step_is_no_control_at_all(adapter, denoiser, people):
    empty = conditioning_of(adapter, people[0], control_window=(0.1, 0.2))
    without = conditioning_of(adapter, people[0], control_strength=0.0)
    assert torch.equal(*run(denoiser, make_row(empty)), *run(denoiser, make_row(without)))


def test_in_guess_mode_guidances_negative_side_has_no_control(adapter, denoiser, people):
    """The reference crashes here; diffusers' own ControlNet pipeline leaves the negative side alone."""
    usual = conditioning_of(adapter, people[0], guidance=5.0)
    guess = replace(usual, controls=tuple(replace(c, guess=True) for c in usual.controls), negative_controls=())
    [guessed] = run(denoiser, make_row(guess, guidance=5.0))
    [expected] = run(denoiser, make_row(usual, guidance=5.0))
    assert torch.isfinite(guessed).all()
    assert (guessed - expected).abs().max() > 1e-3


def test_two_control_images_of_one_net_add_up(adapter, denoiser, people):
    """The same picture at .3 and .5 is the picture at .8, but for the last bits."""
    once = conditioning_of(adapter, people[0])
    control = once.controls[0]
    twice = replace(once, controls=(replace(control, scale=0.3), replace(control, scale=0.5)))
    [expected], [result] = run(denoiser, make_row(once)), run(denoiser, make_row(twice))
    assert is_close(expected, result)


def test_a_control_of_a_net_that_is_not_there_is_an_error_not_a_silence(adapter, denoiser, people):
    conditioning = conditioning_of(adapter, people[0])
    lost = replace(conditioning, controls=(replace(conditioning.controls[0], net="depth"),))
    with pytest.raises(KeyError, match="depth"):
        run(denoiser, make_row(lost))


def random_image(generator, num_tokens, scale=0.7, region=None):
    return ImagePrompt(torch.randn(num_tokens, 2, 8, generator=generator), scale, region)


def attend(generator_seed, images):
    """One layer of width 8 over 12 latent tokens; every row has the same text and latent."""
    torch.manual_seed(generator_seed)

    processor = DecoupledAttention(is_cross=True)
    layer = Attention(query_dim=8, cross_attention_dim=8, heads=2, dim_head=4, processor=processor)
    hidden, text = torch.randn(1, 12, 8), torch.randn(1, 5, 8)
    count = len(images)
    with torch.inference_mode():
        return layer(hidden.repeat(count, 1, 1), text.repeat(count, 1, 1), image=stack_images(images))


def test_images_of_different_lengths_share_a_call():
    """16 tokens of a face embedding beside 32 of two photos: the padding is never looked at."""
    generator = torch.Generator().manual_seed(2)
    short, long = random_image(generator, 3), random_image(generator, 6)
    together = attend(5, [short, long, None])
    for row, image in enumerate([short, long]):
        assert torch.allclose(together[row], attend(5, [image])[0], atol=1e-6)
    assert torch.equal(together[2], attend(5, [None, None, None])[2])


def test_outside_its_region_a_row_has_its_text_alone():
    generator = torch.Generator().manual_seed(3)
    mask = torch.zeros(24, 32)
    mask[:16, :16] = 1
    region = Region.of(mask, 3, 4)  # 12 tokens: the left half of the first two rows of three
    inside = torch.tensor([True, True, False, False] * 2 + [False] * 4)
    image = random_image(generator, 4)
    masked, everywhere, text = attend(6, [replace(image, region=region), image, None])
    assert torch.equal(masked[~inside], text[~inside])
    assert torch.equal(masked[inside], everywhere[inside])
    assert (everywhere - text)[~inside].abs().max() > 1e-3
