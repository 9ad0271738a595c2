"""The embedded bundle, asked the real question: does the person in the selfie reach the picture, and stay in it?

The people are drawn here and were in nobody's training set; who and what a portrait shows is judged by networks that
condition nothing (scripts/train_tiny/judging). Each test was seen to fail with an adapter broken on purpose: ID tokens
zeroed, the fuse step skipped, rows' conditioning shifted by one, the merge step ignored or turned round. Thresholds
leave room for weights that are trained again; what the weights are worth is for scripts/evaluate_tiny.py to say.

Needs skia (the `train` extra, part of `make test`).
"""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import count, cycle, islice, pairwise

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

from models.bundle.bundle import load_bundle
from models.weights.manifest import PACKAGE, read_manifest
from scripts.studio import StudioOrder, open_studio
from scripts.train_tiny.judging.people import Sitter, draw_sitter
from scripts.train_tiny.judging.reading import Judges, Reading

MEGABYTE = 1_000_000
SPEC = read_manifest().bundle("tiny")
ADAPTERS = [adapter.name for adapter in SPEC.adapters]
MERGING = [name for name in ADAPTERS if name.startswith("photomaker")]
ENOUGH = 0.75  # of twelve people, of whom eleven or twelve were found; chance: 0.08
# Of likeness, from a quarter of the strength to all: the last step alone says most.
GAIN = {"photomaker": 0.03, "photomaker-v2": 0.05}
SEED = 977
# Of draw_sitter: the tone is the index modulo 10, and from 10 on they are feminine. Light and dark take turns, so that
# a row that gets its neighbour's identity is far off.
PEOPLE = (0, 9, 11, 18, 2, 7, 13, 16, 4, 19, 10, 5)
NAVY = "portrait photo of a person wearing a navy suit, plain grey studio background, soft light"
YELLOW = "portrait photo of a person wearing a yellow turtleneck, library background, warm light"
each_adapter = pytest.mark.parametrize("adapter", ADAPTERS)
# v1's small tower does not tell skin tones surely: the model card says so.
each_with_recogniser = pytest.mark.parametrize("adapter", [name for name in ADAPTERS if name != "photomaker"])
each_merging_adapter = pytest.mark.parametrize("adapter", MERGING)


@dataclass(frozen=True)
class Gallery:
    """The sitters' second selfies, which no adapter sees, as the judge knows them."""

    known: np.ndarray  # [n, 128]

    def cosines(self, readings: list[Reading]) -> np.ndarray:
        """[portraits, people]"""
        return np.stack([reading.embedding for reading in readings]) @ self.known.T

    def found(self, readings: list[Reading]) -> float:
        """Share of portraits, one of each person, that look most like their own person."""
        return float((self.cosines(readings).argmax(axis=1) == np.arange(len(self.known))).mean())

    def likeness(self, readings: list[Reading]) -> float:
        """Mean cosine to the own person less that to the others."""
        cosines = self.cosines(readings)
        return float(cosines.diagonal().mean() - cosines[~np.eye(len(cosines), dtype=bool)].mean())


class Evaluation:
    """The service's engine, twelve sitters and the judges. Portraits are kept, for several tests look at the same."""

    def __init__(self) -> None:
        self.studio = open_studio()
        self.judges = Judges(PACKAGE / "tiny")
        self.sitters = [draw_sitter(SEED, index, lambda selfie: True) for index in PEOPLE]
        second = [sitter.second_selfie for sitter in self.sitters]
        for selfie in [*second, *(sitter.selfie for sitter in self.sitters)]:
            self.studio.introduce(selfie.pixels, selfie.landmarks)  # whether faces are found is asked elsewhere
        self.gallery = Gallery(np.stack([self.judges.who(s.pixels, s.landmarks).embedding for s in second]))
        self._kept: dict[tuple[object, ...], list[np.ndarray]] = {}

    @cached_property
    def passers_by(self) -> list[Sitter]:
        """Twelve more, tones in turn, whose photos are good enough both."""
        people = (draw_sitter(SEED, index, lambda selfie: True) for index in count(100))
        pictures = ("selfie", "second_selfie")
        good = (s for s in people if all(self.studio.accepts(getattr(s, name).pixels) for name in pictures))
        return list(islice(good, 12))

    def portraits(self, adapter: str, *, prompt: str = NAVY, steps: int = 4, strength: float = 1.0) -> list[np.ndarray]:
        """One of every sitter, with the same seed, in batches of strangers."""
        key = (adapter, prompt, steps, strength)
        if key not in self._kept:
            order = StudioOrder(selfies=(), prompt=prompt, seed=5, adapter=adapter, steps=steps, strength=strength)
            self._kept[key] = self.studio.shoot([of(sitter, order) for sitter in self.sitters])
        return self._kept[key]

    def read(self, adapter: str, portraits: list[np.ndarray]) -> list[Reading]:
        return [self.judges.who(portrait, self._landmarks(adapter)) for portrait in portraits]

    @cache  # noqa: B019
    def _landmarks(self, adapter: str) -> np.ndarray:
        """[5, 2] for all of its portraits: they are framed alike, and one outlier in twelve moves no median."""
        found = [self.studio.landmarks(portrait) for portrait in self.portraits(adapter)]
        drawn = self.sitters[0].neutral.target.landmarks
        return np.median([points for points in found if points is not None] or [drawn], axis=0)


def of(sitter: Sitter, order: StudioOrder) -> StudioOrder:
    return replace(order, selfies=(sitter.selfie.pixels,))


def difference(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.abs(first.astype(int) - second).max())


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return Evaluation()


# ---- the files


def test_it_fits_into_the_repository_and_may_be_used_for_anything():
    bundle = load_bundle(read_manifest(), "tiny")
    folder = PACKAGE / "tiny"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 25 * MEGABYTE
    assert {file.licence for file in bundle.info.files} == {"CC0-1.0"}


def test_every_adapter_of_the_bundle_is_asked(evaluation):
    assert evaluation.studio.adapters == ADAPTERS


def test_the_judges_know_drawn_people_and_clothes(evaluation):
    """Else they could not say anything about portraits."""
    drawn = [sitter.wanted.target for sitter in evaluation.sitters]
    readings = [evaluation.judges.who(target.pixels, target.landmarks) for target in drawn]
    assert evaluation.gallery.found(readings) >= 0.9
    glasses = [r.factors["glasses"] == s.truth["glasses"] for r, s in zip(readings, evaluation.sitters, strict=True)]
    assert np.mean(glasses) >= 0.75
    styles = [evaluation.judges.style(target.pixels)["garment"] for target in drawn]
    assert np.mean([read == s.wanted.style.garment for read, s in zip(styles, evaluation.sitters, strict=True)]) >= 0.6


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers' own
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_the_engine_makes_the_picture_that_diffusers_makes_of_the_same_files(evaluation, strength):
    """Without the person diffusers reads the prompt as well; with, it gets the embeddings that carry the person."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(
        PACKAGE / "tiny", torch_dtype=torch.float32, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    order = StudioOrder(selfies=(), prompt=NAVY, adapter="photomaker-v2", strength=strength)
    row = evaluation.studio.prepare(of(evaluation.sitters[0], order))
    noise = torch.randn(1, *row.latent.shape, generator=torch.Generator().manual_seed(5))
    row.latent = noise[0] * row.plan.initial_scale
    fused = row.conditioning.personal
    asked = {"prompt_embeds": fused.embeds[None], "pooled_prompt_embeds": fused.pooled[None]}
    expected = pipeline(
        **(asked if strength else {"prompt": NAVY}), num_inference_steps=4, guidance_scale=1.0, latents=noise,
        height=256, width=256, output_type="np",
    ).images[0] * 255  # fmt: skip
    [made] = evaluation.studio.develop([row])
    assert np.abs(made - expected).max() <= 2


# ---- the person


@each_adapter
def test_the_person_in_the_selfie_reaches_the_picture(evaluation, adapter):
    readings = evaluation.read(adapter, evaluation.portraits(adapter))
    assert evaluation.gallery.found(readings) >= ENOUGH
    assert evaluation.gallery.likeness(readings) > 0.25


@each_adapter
def test_nothing_of_the_person_goes_round_the_adapter(evaluation, adapter):
    """With ID tokens of zeros the portraits are nobody's: what the test above found came through the tokens."""
    order = StudioOrder(selfies=(), prompt=NAVY, seed=5, adapter=adapter)
    readings = evaluation.read(
        adapter, evaluation.studio.without_identity().shoot([of(sitter, order) for sitter in evaluation.sitters])
    )
    assert evaluation.gallery.found(readings) <= 0.25
    assert abs(evaluation.gallery.likeness(readings)) < 0.1


@each_adapter
def test_a_person_alone_looks_the_same_as_in_a_batch_of_strangers(evaluation, adapter):
    """Batch mates have other styles, strengths, steps, seeds and adapters; none of it shows."""
    ways = [(NAVY, 4, 1.0), (YELLOW, 8, 1.0), (YELLOW, 2, 0.5), (NAVY, 6, 0.0)] * 2  # prompt, steps, strength
    orders = [
        StudioOrder(
            selfies=(sitter.selfie.pixels,), prompt=prompt, seed=seed, adapter=name, steps=steps, strength=strength
        )
        for seed, (sitter, name, (prompt, steps, strength)) in enumerate(
            zip(evaluation.sitters[:8], cycle([adapter, *ADAPTERS]), ways, strict=False)
        )
    ]
    together = evaluation.studio.shoot(orders)
    own = [index for index, order in enumerate(orders) if order.adapter == adapter]
    assert len(own) >= 2
    for index in own[:4]:
        [alone] = evaluation.studio.shoot([orders[index]])
        assert difference(alone, together[index]) <= 2  # another batch size may sum in another order


@each_adapter
def test_strength_0_shows_nobody(evaluation, adapter):
    none = evaluation.portraits(adapter, strength=0.0)
    assert max(difference(none[0], other) for other in none[1:]) <= 1


@each_adapter
def test_more_strength_does_not_lose_the_person(evaluation, adapter):
    strengths = (0.0, 0.25, 0.5, 1.0)
    likeness = [
        evaluation.gallery.likeness(evaluation.read(adapter, evaluation.portraits(adapter, strength=s)))
        for s in strengths
    ]
    assert all(more > less - 0.02 for less, more in pairwise(likeness)), likeness
    assert likeness[-1] > likeness[0] + 0.4, likeness
    assert likeness[-1] > likeness[1] + GAIN.get(adapter, 0.1), likeness


@each_merging_adapter
def test_the_first_steps_are_the_prompts_and_the_last_ones_the_persons(evaluation, adapter):
    """Half strength of four steps: two strangers are the same nobody for two steps, and then part."""
    order = StudioOrder(selfies=(), prompt=NAVY, seed=5, adapter=adapter, steps=4)
    half, full = (
        [evaluation.studio.prepare(of(sitter, replace(order, strength=strength))) for sitter in evaluation.sitters[:2]]
        for strength in (0.5, 1.0)
    )
    engine = evaluation.studio.engine(half[0].key.network)
    for row in (*half, *full):
        engine.add(row)
    parted = []
    for _ in range(3):
        engine.tick()
        parted.append([float((one.latent - other.latent).abs().max()) for one, other in (half, full)])
    assert max(gap for gap, _ in parted[:2]) < 1e-4
    assert parted[2][0] > 0.05
    assert min(gap for _, gap in parted) > 0.05


@each_adapter
def test_two_selfies_beat_one(evaluation, adapter):
    """Over 24 people at two steps, held against drawn portraits of them; either selfie alone, and both in either order.

    Twelve are too few for v1: two selfies gave 0.007 there over 48, and the spread of a mean of twelve is 0.008.
    """
    sitters = [*evaluation.sitters, *evaluation.passers_by]
    drawn = [sitter.neutral.target for sitter in sitters]
    wanted = np.stack([evaluation.judges.who(target.pixels, target.landmarks).embedding for target in drawn])

    def likeness(portraits: list[np.ndarray]) -> float:
        made = np.stack([reading.embedding for reading in evaluation.read(adapter, portraits)])
        return float((made * wanted).sum(axis=1).mean())

    def shot(*chosen: str) -> float:
        order = StudioOrder(selfies=(), prompt=NAVY, seed=5, adapter=adapter, steps=2)
        selfies = [tuple(getattr(sitter, name).pixels for name in chosen) for sitter in sitters]
        return likeness(evaluation.studio.shoot([replace(order, selfies=pictures) for pictures in selfies]))

    one = (shot("selfie") + shot("second_selfie")) / 2
    two = (shot("selfie", "second_selfie") + shot("second_selfie", "selfie")) / 2
    assert two > one


@each_adapter
def test_preview_and_final_of_one_seed_show_the_same_person(evaluation, adapter):
    previews, finals = (evaluation.read(adapter, evaluation.portraits(adapter, steps=steps)) for steps in (2, 8))
    cosines = np.stack([p.embedding for p in previews]) @ np.stack([f.embedding for f in finals]).T
    assert (cosines.argmax(axis=1) == np.arange(len(cosines))).mean() >= 0.75


# ---- the style


@each_adapter
def test_another_style_keeps_the_person(evaluation, adapter):
    navy, yellow = (evaluation.read(adapter, evaluation.portraits(adapter, prompt=prompt)) for prompt in (NAVY, YELLOW))
    cosines = np.stack([a.embedding for a in navy]) @ np.stack([b.embedding for b in yellow]).T
    assert (cosines.argmax(axis=1) == np.arange(len(cosines))).mean() >= 0.75
    assert evaluation.gallery.found(yellow) >= ENOUGH


@each_adapter
def test_another_selfie_keeps_the_style(evaluation, adapter):
    ordered = {
        NAVY: {"garment": "suit", "colour": "navy", "place": "studio", "backdrop": "grey"},
        YELLOW: {"garment": "turtleneck", "colour": "yellow", "place": "library"},
    }
    for prompt, style in ordered.items():
        worn = [evaluation.judges.style(portrait) for portrait in evaluation.portraits(adapter, prompt=prompt)]
        for factor, name in style.items():
            assert np.mean([read[factor] == name for read in worn]) >= 0.75, (prompt, factor)


@each_with_recogniser
def test_skin_tones_of_strangers_stay_with_their_owners(evaluation, adapter):
    """The plainest sign, and one that needs no judge: the middle of a face is as light as its owner is."""
    luma = [portrait[120:160, 96:160].mean() for portrait in evaluation.portraits(adapter)]
    light = [value for value, index in zip(luma, PEOPLE, strict=True) if index % 10 <= 2]
    dark = [value for value, index in zip(luma, PEOPLE, strict=True) if index % 10 >= 8]
    assert min(light) - max(dark) > 15
