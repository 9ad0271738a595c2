"""The trainer of the embedded bundle: its renderer, prompts and checkpoints, and that what it exports can serve."""

import shutil
from collections import Counter
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import skia
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.adapters.photomaker.encoder import PhotoMakerEncoder
from models.weights.manifest import PACKAGE
from scripts.studio import StudioOrder, open_studio
from scripts.train_tiny.drawing.backgrounds import draw_background
from scripts.train_tiny.drawing.person import CATEGORIES, MEASURES, SKIN, categories, draw_identity, measures, tone_of
from scripts.train_tiny.drawing.pose import portrait_pose, selfie_pose
from scripts.train_tiny.drawing.prompts import TRIGGER, draw_prompt
from scripts.train_tiny.drawing.render import render
from scripts.train_tiny.drawing.shards import PORTRAITS, SELFIES, read_shard, shard_paths, write_shards
from scripts.train_tiny.drawing.skin_patches import skin_patches, skin_places
from scripts.train_tiny.drawing.style import (
    GARMENTS,
    IGNORED,
    STYLE_FACTORS,
    DrawnStyle,
    draw_style,
    plain_style,
    style_classes,
)
from scripts.train_tiny.judging.judges import style_crop, trained_style
from scripts.train_tiny.judging.people import draw_sitter
from scripts.train_tiny.judging.reading import Judges
from scripts.train_tiny.lessons import polish, trainer
from scripts.train_tiny.lessons.augment import snapshot
from scripts.train_tiny.lessons.classroom import face_weight
from scripts.train_tiny.lessons.discriminator import Contest
from scripts.train_tiny.lessons.export import export_bundle
from scripts.train_tiny.lessons.generator import Generator, trained_generator
from scripts.train_tiny.lessons.polish import Critic, Drafts, crops
from scripts.train_tiny.lessons.pool import Pool
from scripts.train_tiny.lessons.recogniser import RecogniserLesson, aligned_crop, to_planes
from scripts.train_tiny.lessons.skin import Lean, skin_colours, to_lab
from scripts.train_tiny.lessons.text import read_tokenizers
from scripts.train_tiny.lessons.tower import tower_shape
from scripts.train_tiny.lessons.trainer import Trainer, write_start
from scripts.train_tiny.lessons.vae import IRIS, build_vae, encode, iris_weight, trained_vae
from scripts.train_tiny.restore import restore_autoencoder, restore_generator, restore_style_judge

# ---- the renderer


def drawn(seed: int, index: int):
    rng = np.random.default_rng(seed)
    return render(draw_identity(rng, index), draw_style(rng), portrait_pose(rng))


def background(style: DrawnStyle, seed: int) -> np.ndarray:
    surface = skia.Surface(256, 256)
    draw_background(surface.getCanvas(), style, np.random.default_rng(seed))
    return surface.toarray()[:, :, :3]


def test_one_seed_draws_one_picture():
    assert np.array_equal(drawn(3, 5).pixels, drawn(3, 5).pixels)
    assert np.array_equal(drawn(3, 5).landmarks, drawn(3, 5).landmarks)
    assert not np.array_equal(drawn(3, 5).pixels, drawn(4, 5).pixels)


def test_any_twenty_people_in_a_row_are_balanced_over_tones_and_presentations():
    people = [draw_identity(np.random.default_rng(index), index) for index in range(7, 27)]
    counted = Counter((round(person.tone), person.feminine) for person in people)
    assert counted == {(tone, feminine): 1 for tone in range(len(SKIN)) for feminine in (False, True)}


def test_presentation_says_nothing_about_tone_eyes_or_glasses():
    people = [draw_identity(np.random.default_rng([1, index]), index) for index in range(1000)]
    for factor in ("eye_colour", "glasses", "hair_colour"):
        shares = []
        for feminine in (False, True):
            counted = Counter(getattr(p, factor) for p in people if p.feminine == feminine)
            shares.append({name: count / 500 for name, count in counted.items()})
        assert max(abs(shares[0][name] - shares[1][name]) for name in shares[0]) < 0.1


def test_the_same_person_is_drawn_in_every_style_and_pose_with_the_face_where_the_landmarks_say():
    rng = np.random.default_rng(8)
    person = draw_identity(rng, 2)
    for pose in (selfie_pose(rng), portrait_pose(rng)):
        drawing = render(person, plain_style(rng), pose)
        left_eye, right_eye, nose, left_mouth, right_mouth = drawing.landmarks
        assert left_eye[0] < nose[0] < right_eye[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
        assert ((drawing.landmarks > 0) & (drawing.landmarks < 256)).all()


def test_targets_have_a_class_or_a_number_for_every_head():
    for index in range(40):
        person = draw_identity(np.random.default_rng(index), index)
        classes, numbers = categories(person), measures(person)
        assert (classes < np.array([*CATEGORIES.values()])).all()
        assert numbers.shape == (len(MEASURES),)
        assert np.abs(numbers).max() <= 1
        assert tone_of(numbers) == pytest.approx(person.tone, abs=1e-5)


# ---- prompts


def test_a_prompt_names_garment_colour_and_place_and_has_the_trigger_behind_its_class_word():
    style = DrawnStyle(garment="hoodie", colour="teal", place="beach", backdrop="red", light="warm", art="none")
    rng = np.random.default_rng(0)
    for feminine in (False, True) * 20:
        prompt = draw_prompt(rng, style, feminine)
        assert "teal" in prompt
        assert any(word in prompt for word in ("hoodie", "hooded sweatshirt"))
        assert any(word in prompt for word in ("beach", "sea"))
        assert "warm" in prompt
        assert "red" not in prompt.split()  # the beach has no colour of its own
        words = prompt.replace(",", "").split()
        assert words.count(TRIGGER) == 1
        assert words[words.index(TRIGGER) - 1] in {
            "person", "woman", "lady", "girl", "man", "gentleman", "guy", "boy",
        }  # fmt: skip


def test_a_plain_background_has_its_colour_in_the_prompt_and_an_art_direction_its_name():
    style = DrawnStyle(garment="suit", colour="navy", place="studio", backdrop="pink", light="soft", art="comic")
    rng = np.random.default_rng(0)
    for _ in range(40):
        prompt = draw_prompt(rng, style, feminine=True)
        assert "pink" in prompt
        assert any(word in prompt for word in ("comic", "illustration", "ink drawing"))


def test_no_two_garments_of_one_colour_look_alike():
    """A denim jacket's pockets once lay below the picture's edge, and it was a jacket."""
    plain = DrawnStyle(garment="suit", colour="blue", place="studio", backdrop="grey", light="soft", art="none")
    person, pose = draw_identity(np.random.default_rng(2), 0), portrait_pose(np.random.default_rng(2))
    torsos = [render(person, replace(plain, garment=name), pose).pixels[200:].astype(float) for name in GARMENTS]
    apart = [float(np.abs(a - b).mean()) for a, b in combinations(torsos, 2)]
    assert min(apart) > 3  # grey levels


@pytest.mark.parametrize(("place", "share"), [("city", 0.8), ("city at night", 0.6), ("bokeh", 0.8)])
def test_a_place_looks_much_the_same_in_every_picture_of_it(place, share):
    """A generator of few steps draws the mean of what it is not told, and the mean of many skylines is a grey sky."""
    plain = DrawnStyle(garment="suit", colour="blue", place="studio", backdrop="purple", light="soft", art="none")
    views = [background(replace(plain, place=place), seed).astype(float) for seed in range(6)]
    mean = np.mean(views, axis=0)
    assert mean.std(axis=(0, 1)).mean() > share * np.mean([view.std(axis=(0, 1)).mean() for view in views])


def test_what_a_picture_can_t_show_is_no_class_to_learn():
    style = DrawnStyle(garment="suit", colour="red", place="park", backdrop="grey", light="soft", art="neon")
    classes = dict(zip(STYLE_FACTORS, style_classes(style), strict=True))
    assert {name for name, index in classes.items() if index == IGNORED} == {"colour", "backdrop", "light"}
    assert STYLE_FACTORS["garment"][classes["garment"]] == "suit"
    shown = style_classes(replace(style, place="studio", art="none"))
    assert [names[index] for names, index in zip(STYLE_FACTORS.values(), shown, strict=True)] == [
        "suit", "red", "studio", "grey", "soft", "none",
    ]  # fmt: skip


# ---- shards


def test_a_shard_comes_back_as_it_was_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.train_tiny.drawing.shards.PEOPLE", 3)
    write_shards(tmp_path, [7], seed=5)
    [path] = shard_paths(tmp_path)
    shard, again = read_shard(path), read_shard(path)
    assert len(shard) == 3
    assert len(shard.styles) == 3 * PORTRAITS
    assert shard.selfie_landmarks.shape == (3, SELFIES, 5, 2)
    rng = np.random.default_rng([5, 7])
    people = [draw_identity(rng, index) for index in range(3)]
    assert np.array_equal(shard.categories, np.stack([categories(person) for person in people]))
    first = render(people[0], plain_style(rng), selfie_pose(rng))
    assert np.abs(first.landmarks * 0.75 - shard.selfie_landmarks[0, 0]).max() < 1e-3
    assert shard.portrait(2, 1).shape == (256, 256, 3)
    assert np.array_equal(shard.portrait(2, 1), again.portrait(2, 1))
    target = render(people[0], shard.style(0, 0), portrait_pose(np.random.default_rng(0))).pixels
    assert np.abs(shard.portrait(0, 0).astype(int) - target).mean() < 20  # another pose of the same in the same


def test_a_shard_that_is_there_is_not_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.train_tiny.drawing.shards.PEOPLE", 1)
    write_shards(tmp_path, [0], seed=5)
    written = shard_paths(tmp_path)[0].stat().st_mtime_ns
    write_shards(tmp_path, [0, 1], seed=5)
    assert [path.stem for path in shard_paths(tmp_path)] == ["00000", "00001"]
    assert shard_paths(tmp_path)[0].stat().st_mtime_ns == written


# ---- checkpoints


class Interrupted(Exception):
    pass


def interrupted_at(step: int | None, seen: list[int], model: nn.Module):
    def loss_of(now: int) -> dict[str, Tensor]:
        if now == step:
            raise Interrupted
        seen.append(now)
        return {"loss": sum((p - 1).square().sum() for p in model.parameters())}

    return loss_of


def test_training_goes_on_at_the_step_weights_and_rate_where_it_was_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)  # after every step
    seen: list[int] = []
    model = nn.Linear(4, 4)
    first = Trainer("lesson", model, tmp_path, rate=1e-2)
    with pytest.raises(Interrupted):
        first.run(interrupted_at(100, seen, model), budget_seconds=60)
    rate = first._optimizer.param_groups[0]["lr"]
    resumed = nn.Linear(4, 4)
    second = Trainer("lesson", resumed, tmp_path, rate=1e-2)
    assert torch.equal(resumed.weight, model.weight)
    with pytest.raises(Interrupted):
        second.run(interrupted_at(101, seen, resumed), budget_seconds=60)
    assert seen == list(range(101))
    assert second._optimizer.param_groups[0]["lr"] == pytest.approx(rate, rel=0.02)
    assert second._optimizer.state[resumed.weight]["step"] == 101


def test_a_stage_whose_time_is_used_up_makes_no_further_step(tmp_path):
    seen: list[int] = []
    model = nn.Linear(4, 4)
    Trainer("lesson", model, tmp_path, rate=1e-2).run(interrupted_at(None, seen, model), budget_seconds=0.1)
    made = len(seen)
    Trainer("lesson", model, tmp_path, rate=1e-2).run(interrupted_at(None, seen, model), budget_seconds=0.1)
    assert len(seen) == made > 0


def test_a_resumed_stage_does_not_see_the_batches_again_that_it_began_with(tmp_path):
    start, _ = trainer.seeded(3, tmp_path, "lesson")
    again, _ = trainer.seeded(3, tmp_path, "lesson")
    model = nn.Linear(1, 1)
    Trainer("lesson", model, tmp_path, rate=1e-2).run(interrupted_at(None, [], model), budget_seconds=0.05)
    resumed, _ = trainer.seeded(3, tmp_path, "lesson")
    drawn_first = start.integers(1 << 30)
    assert drawn_first == again.integers(1 << 30)
    assert drawn_first != resumed.integers(1 << 30)


# ---- the export


def test_training_goes_on_from_the_weights_of_an_exported_bundle(tmp_path):
    bundle = PACKAGE / "tiny"
    restore_generator(bundle, tmp_path / "text", tmp_path)
    generator = trained_generator(tmp_path / "text", tmp_path)
    for part, state in {
        "unet/diffusion_pytorch_model.safetensors": generator.unet.state_dict(),
        "instantid/ControlNetModel/diffusion_pytorch_model.safetensors": generator.instant.net_state(),
    }.items():
        stored = load_file(bundle / part)
        assert stored.keys() == state.keys()
        assert all(torch.equal(stored[key].float(), tensor) for key, tensor in state.items())


def test_the_style_judge_goes_on_as_the_one_that_was_exported(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.train_tiny.drawing.shards.PEOPLE", 8)
    monkeypatch.setattr("scripts.train_tiny.restore.CALIBRATION_PEOPLE", 8)
    write_shards(tmp_path / "shards", [0], seed=5)
    restore_style_judge(PACKAGE / "tiny", tmp_path / "shards", tmp_path)
    network, judges = trained_style(tmp_path), Judges(PACKAGE / "tiny")
    for index in range(3):
        picture = drawn(3, index).pixels
        logits = network(to_planes([style_crop(picture)]) * 2 - 1)[0].split([len(n) for n in STYLE_FACTORS.values()])
        read = {name: n[int(one.argmax())] for (name, n), one in zip(STYLE_FACTORS.items(), logits, strict=True)}
        assert read.items() >= judges.style(picture).items()


def test_an_untrained_generator_exports_as_a_bundle_that_loads_and_draws(tmp_path):
    """Weights are random and so is the picture; every file is where the service looks for it, in the shape it needs."""
    text, checkpoints, target = tmp_path / "text", tmp_path / "checkpoints", tmp_path / "tiny"
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(PACKAGE / "tiny" / name, text / name)
    shutil.copytree(PACKAGE / "tiny" / "faces", target / "faces")
    torch.manual_seed(0)
    write_start("generator", Generator(read_tokenizers(text)), checkpoints)
    write_start("decoder", build_vae(), checkpoints)
    write_start("imitation", PhotoMakerEncoder(tower_shape()), checkpoints)
    export_bundle(text, checkpoints, target)
    studio = open_studio(target)
    selfie = draw_sitter(1, 0, studio.accepts).selfie.pixels
    orders = [
        StudioOrder(selfies=(selfie,), prompt="portrait photo of a person", adapter=name, steps=1)
        for name in studio.adapters
    ]
    portraits = studio.shoot(orders)
    assert len(portraits) == len(studio.adapters) > 0
    assert all(portrait.shape == (256, 256, 3) for portrait in portraits)


# ---- what the decoder and the generator are taught with


def test_the_critic_s_crops_are_the_recogniser_s():
    render = drawn(3, 5)
    pixels = torch.from_numpy(render.pixels.copy()).permute(2, 0, 1)[None].float()
    crop = crops(pixels, [render.landmarks])[0].permute(1, 2, 0).numpy()
    assert np.abs(crop - aligned_crop(render.pixels, render.landmarks)).mean() < 0.5


def test_the_critic_tells_the_portrait_that_was_meant_from_another_person_s(tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.train_tiny.drawing.shards.PEOPLE", 8)
    write_shards(tmp_path, [0], seed=5)
    restore_autoencoder(PACKAGE / "tiny", tmp_path)
    vae, rng = trained_vae(tmp_path), np.random.default_rng(0)
    pool = Pool(tmp_path, rng)
    shard = pool.shard("00000")
    people = range(5)
    pictures = to_planes([shard.portrait(person, 1) for person in people]) * 2 - 1
    with torch.no_grad():
        meant = encode(vae, pictures)
    batch: Any = SimpleNamespace(
        readable=torch.ones(5, dtype=torch.bool),
        sources=[(0, person, 1) for person in people],
        landmarks=torch.from_numpy(shard.portrait_landmarks[:5, 1]),
        classes=torch.from_numpy(shard.categories[:5]),
        measures=torch.from_numpy(shard.measures[:5]),
    )
    torch.manual_seed(0)
    critic = Critic(Contest(vae), RecogniserLesson().eval(), [shard], rng)
    right, wrong = (critic(Drafts(batch, latents)) for latents in (meant, meant.roll(1, 0)))
    for name in ("skin", "lean", "draft", "look"):
        assert right[name] < 0.3 * wrong[name], name


@pytest.mark.parametrize(
    ("weight", "least", "most"), [(0.0, 10.0, 20.0), (polish.LEAN, 0.0, 8.0)], ids=["alone", "with lean"]
)
def test_lean_keeps_guessed_tones_from_the_middle(weight, least, most):
    """A line through tones that are seen inexactly is drawn flat by single errors; its ends are what people are."""
    generator = torch.Generator().manual_seed(0)
    tones = 9 * torch.rand(3000, generator=generator)
    seen = (tones + 2.5 * torch.randn(3000, generator=generator) - 4.5)[:, None]
    line, lean = nn.Linear(1, 3), Lean()
    optimizer = torch.optim.SGD(line.parameters(), lr=0.05)
    for start in range(0, 9000, 3):
        rows = torch.arange(start, start + 3) % 3000
        off = line(seen[rows]) - 8 * (tones[rows, None] - 4.5)
        loss = polish.SKIN * off.square().mean() + weight * lean(off, tones[rows].tolist())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    off = (line(seen) - 8 * (tones[:, None] - 4.5)).detach()
    at_the_ends = [off[tones < 1.5].mean(0).abs().max(), off[tones > 7.5].mean(0).abs().max()]
    assert least < min(at_the_ends)
    assert max(at_the_ends) < most


def test_the_critic_s_skin_is_the_judge_s_and_hair_in_an_eighth_of_it_does_not_matter():
    for seed, index in ((3, 5), (4, 5), (2, 8), (9, 2)):
        render = drawn(seed, index)
        lab = cv2.cvtColor(render.pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        patches = skin_patches(render.landmarks, (256, 256))
        median = np.median(np.concatenate([lab[patch].reshape(-1, 3) for patch in patches]), axis=0)
        assert np.abs(skin_of(render.pixels, render.landmarks) - median).max() < 1
    for rows, columns in patches:
        render.pixels[rows, columns][::8] = 20
    assert np.abs(skin_of(render.pixels, render.landmarks) - median).max() < 2


def skin_of(pixels, landmarks):
    return skin_colours(to_planes([pixels]) * 2 - 1, [landmarks])[0].numpy()


def test_skin_patches_lie_on_cheeks_and_forehead_clear_of_eyes_and_mouth():
    landmarks = drawn(3, 5).landmarks
    for place, patch in zip(skin_places(landmarks), skin_patches(landmarks, (256, 256)), strict=True):
        assert covers(patch, place)
        assert not any(covers(patch, point) for point in landmarks[[0, 1, 3, 4]])  # eyes and the mouth's corners


def test_skin_patches_of_a_face_beyond_the_edge_have_pixels_of_the_picture():
    picture = np.zeros((256, 200, 3))
    for away in (-400, 400):
        patches = skin_patches(drawn(3, 5).landmarks + away, picture.shape[:2])
        assert all(picture[patch].size for patch in patches)


def covers(patch, point):
    rows, columns = patch
    return rows.start <= point[1] < rows.stop and columns.start <= point[0] < columns.stop


def test_colours_are_compared_in_cielab():
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 9, dtype=np.float32)] * 3), axis=-1).reshape(-1, 3)
    expected = cv2.cvtColor(grid[None], cv2.COLOR_RGB2LAB)[0]
    assert np.abs(to_lab(torch.from_numpy(grid * 2 - 1)).numpy() - expected).max() < 0.5


def test_snapshots_of_one_batch_differ_in_softness():
    """Batch norm shares its statistics: were a batch soft as a whole, networks would misread each sharp picture."""
    noise = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(1)).expand(8, 3, 64, 64)
    differing = 0
    for seed in range(12):
        seen = snapshot(noise, torch.Generator().manual_seed(seed), occlude=False)
        detail = (seen[..., 1:] - seen[..., :-1]).std((1, 2, 3)) / seen.std((1, 2, 3))
        differing += bool(detail.max() > 1.3 * detail.min())
    assert differing >= 8


@pytest.mark.parametrize("colour", [(0.93, 0.82, 0.74), (0.62, 0.45, 0.33), (0.24, 0.18, 0.16)])
def test_a_snapshot_s_skin_is_on_average_the_skin_that_was_drawn(colour):
    """A camera errs both ways: what is learnt of snapshots should hold for true colours too."""
    drawn = torch.tensor(colour).view(1, 3, 1, 1).expand(800, 3, 28, 28)
    seen = snapshot(drawn, torch.Generator().manual_seed(0), occlude=False).mean((2, 3))
    coloured = seen[seen.std(dim=1) > 0.02]
    off = to_lab(coloured * 2 - 1).mean(0) - to_lab(torch.tensor([colour]) * 2 - 1)
    assert off.norm() < 3  # not 0: highlights are cut off


def test_eyes_weigh_most_where_they_are():
    landmarks = drawn(3, 5).landmarks
    pixels = iris_weight(landmarks, 256)[0]
    latents = face_weight(torch.from_numpy(landmarks))[0]
    assert latents.mean() == pytest.approx(1)
    for x, y in landmarks[:2]:
        assert pixels[round(float(y)), round(float(x))] == pytest.approx(IRIS, rel=0.05)
        assert latents[int(y // 16), int(x // 16)] > 3 * latents[15, 0]
    assert pixels[250, 10] == pytest.approx(0, abs=1e-3)
