"""IP-Adapter plus-face against diffusers' own implementation, run here on tiny random weights in the published layout.

float32 on a CPU: both sides compute the same sums in another order, and agree to 1e-5 of the largest value.
"""

import math

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from models.adapters.ip_adapter.adapter import face_crop
from models.adapters.ip_adapter.checkpoint import build_ip_adapter, split_ip_adapter
from models.bundle.modules import build_process, build_unet
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row
from models.faces.face import Face
from models.sdxl.attention import attention_layers
from models.sdxl.denoiser import Denoiser
from models.sdxl.text import PromptTooLong
from models.wire.picture import Picture
from scripts.golden.photomaker import PhotoMakerFolder
from tests.models.conftest import GOLDEN
from tests.models.engine.test_invariance import run
from tests.models.scenes import scene_of

PROMPT, NEGATIVE = "portrait photo of a man wearing a hat", "blurry"
VISION = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 7,
    "projection_dim": 16,
    "hidden_act": "gelu",
}
TOLERANCE = 1e-5


def far(result, expected):
    """The largest difference, as a share of the largest expected value."""
    assert result.shape == expected.shape
    return float((result - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def golden():
    return PhotoMakerFolder(GOLDEN)


def make_unet(golden):
    return build_unet(golden.configs["unet"], golden.tensors("unet"), golden.place)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION)).eval()


@pytest.fixture(scope="module")
def published(golden):
    """A checkpoint as published, with the sizes of the tiny UNet: depth 4 and heads of 64, 16 queries."""
    generator = torch.Generator().manual_seed(1)
    width, depth, inner, context = 32, 4, 128, golden.configs["unet"]["cross_attention_dim"]
    shapes = {
        "latents": (1, 16, width),
        "proj_in.weight": (width, VISION["hidden_size"]),
        "proj_in.bias": (width,),
        "proj_out.weight": (context, width),
        "proj_out.bias": (context,),
        "norm_out.weight": (context,),
        "norm_out.bias": (context,),
    }
    for layer in range(depth):
        shapes |= {f"layers.{layer}.0.{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in PARTS}
        shapes |= {
            f"layers.{layer}.0.to_q.weight": (inner, width),
            f"layers.{layer}.0.to_kv.weight": (2 * inner, width),
            f"layers.{layer}.0.to_out.weight": (width, inner),
            f"layers.{layer}.1.0.weight": (width,),
            f"layers.{layer}.1.0.bias": (width,),
            f"layers.{layer}.1.1.weight": (4 * width, width),
            f"layers.{layer}.1.3.weight": (width, 4 * width),
        }
    state = {f"image_proj.{name}": shape for name, shape in shapes.items()}
    for n, (_, layer) in enumerate(attention_layers(make_unet(golden))):
        if layer.is_cross_attention:
            state |= {f"ip_adapter.{n}.to_{part}_ip.weight": (layer.inner_dim, context) for part in "kv"}
    return {key: torch.randn(shape, generator=generator) * 0.2 for key, shape in state.items()}


PARTS = ("weight", "bias")


@pytest.fixture(scope="module")
def adapter(golden, published, tower):
    return build_ip_adapter(published, VISION, tower.state_dict(), make_unet(golden), golden.text)


@pytest.fixture(scope="module")
def denoiser(golden):
    return Denoiser(make_unet(golden))


@pytest.fixture(scope="module")
def oracle(golden, published, tower):
    """Diffusers' pipeline with the checkpoint loaded by its own loader."""
    scheduler = EulerDiscreteScheduler.from_config(golden.configs["scheduler"])
    first, second = golden.text.modules()
    pipeline = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_config(golden.configs["vae"]),
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=golden.tokenizers()[0],
        tokenizer_2=golden.tokenizers()[1],
        unet=make_unet(golden),
        scheduler=scheduler,
        image_encoder=tower,
        feature_extractor=CLIPImageProcessor(size=28, crop_size=28),
    )
    nested = {"image_proj": {}, "ip_adapter": {}}
    for key, tensor in published.items():
        part, _, name = key.partition(".")
        nested[part][name] = tensor
    pipeline.unet._load_ip_adapter_weights([nested])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def selfie(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    pixels = cv2.resize(pixels, (300, 400), interpolation=cv2.INTER_CUBIC)
    return Picture(width=300, height=400, rgb=pixels.tobytes())


FACE = Face(
    (80.0, 90.0, 220.0, 300.0),
    np.array([(118, 170), (188, 162), (156, 214), (128, 252), (190, 246)], np.float32),
    0.9,
)


def crops(count):
    pictures = [face_crop(selfie(seed), FACE) for seed in range(count)]
    return [Image.frombytes("RGB", (crop.width, crop.height), crop.rgb) for crop in pictures]


@pytest.fixture(scope="module")
def people(adapter):
    return [adapter.identity([selfie(seed) for seed in range(count)], [FACE] * count) for count in (1, 2)]


def scene(**changes):
    given = {
        "prompt": PROMPT,
        "negative_prompt": NEGATIVE,
        "subject": "man",
        "width": 64,
        "height": 64,
        "steps": 4,
        "strength": 0.7,
        "guidance": 5.0,
    }
    return scene_of(**(given | changes))


def test_a_crop_is_insightfaces_aligned_one_at_224():
    """Its `norm_crop(image, landmarks, 224)`: the 112-pixel template doubled, bilinear, black outside."""
    template = 2 * np.array(
        [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    )
    matrix, _ = cv2.estimateAffinePartial2D(FACE.landmarks, template, method=cv2.LMEDS, refineIters=50)
    crop = face_crop(selfie(0), FACE)
    assert (crop.width, crop.height) == (224, 224)
    pixels = np.frombuffer(selfie(0).rgb, np.uint8).reshape(400, 300, 3)
    expected = cv2.warpAffine(pixels, matrix, (224, 224), borderValue=0)
    found = np.frombuffer(crop.rgb, np.uint8).reshape(224, 224, 3)
    assert np.abs(found.astype(int) - expected).mean() < 4  # LMEDS weighs the five points a little otherwise


@pytest.mark.parametrize("count", [1, 2])
def test_tokens_equal_those_of_diffusers(adapter, oracle, people, count):
    with torch.inference_mode():
        [embeds] = oracle.prepare_ip_adapter_image_embeds([crops(count)], None, torch.device("cpu"), 1, True)
        nobody, person = oracle.unet.encoder_hid_proj([embeds])[0]  # [count, 16, D] each
    assert far(people[count - 1].tokens, person.flatten(0, 1)) <= TOLERANCE
    assert far(adapter.tokens_of(torch.zeros(1, 3, 28, 28)), nobody[0]) <= TOLERANCE


@pytest.mark.parametrize("strength", [0.3, 1.0])
@pytest.mark.parametrize("count", [1, 2])
def test_one_guided_prediction_equals_that_of_diffusers(adapter, denoiser, oracle, people, count, strength):
    conditioning = adapter.condition(people[count - 1], scene(strength=strength))
    latent, t, guidance = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)), 499, 5.0
    result = denoiser.predict(latent, torch.tensor([t]), [(conditioning, 0)], torch.tensor([guidance]))
    oracle.set_ip_adapter_scale(strength)
    with torch.inference_mode():
        embeds = oracle.prepare_ip_adapter_image_embeds([crops(count)], None, torch.device("cpu"), 1, True)
        text, no_text, pooled, no_pooled = oracle.encode_prompt(PROMPT, negative_prompt=NEGATIVE)
        time_ids = conditioning.time_ids[None].repeat(2, 1)
        against, towards = oracle.unet(
            latent.repeat(2, 1, 1, 1),
            t,
            encoder_hidden_states=torch.cat([no_text, text]),
            added_cond_kwargs={
                "text_embeds": torch.cat([no_pooled, pooled]),
                "time_ids": time_ids,
                "image_embeds": embeds,
            },
        ).sample.chunk(2)
    assert far(result, against + guidance * (towards - against)) <= TOLERANCE


@pytest.mark.filterwarnings("ignore:__array__")  # the oracle's scheduler
@pytest.mark.parametrize("guidance", [1.0, 5.0], ids=["unguided", "guided"])
def test_a_whole_run_equals_that_of_diffusers(golden, adapter, denoiser, oracle, people, guidance):
    noise = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(3))
    oracle.set_ip_adapter_scale(0.7)
    expected = oracle(
        PROMPT,
        negative_prompt=NEGATIVE,
        ip_adapter_image=[crops(2)],
        height=64,
        width=64,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=noise[None].clone(),
        output_type="latent",
    ).images[0]
    plan = make_plan("euler", 4, build_process(golden.configs["scheduler"]))
    [latent] = run(denoiser, [make_row(adapter, people[1], plan, noise * plan.initial_scale, guidance)], (1,))
    assert far(latent, expected) <= TOLERANCE


def make_row(adapter, person, plan, latent, guidance=5.0, **changes):
    return Row(
        job_id="job",
        index=0,
        seed=1,
        key=BatchKey("golden", "plain", 64, 64, guidance > 1),
        plan=plan,
        conditioning=adapter.condition(person, scene(guidance=guidance, **changes)),
        guidance=guidance,
        deadline=math.inf,
        latent=latent,
    )


def test_a_row_alone_equals_its_row_among_others_with_more_pictures_other_strengths_and_none(
    golden, adapter, denoiser, people
):
    plan = make_plan("euler", 4, build_process(golden.configs["scheduler"]))
    noises = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(4))

    def rows():
        kinds = [(people[0], 0.7), (people[1], 0.7), (people[0], 0.0), (people[0], 0.2)]
        return [
            make_row(adapter, person, plan, noise, strength=strength)
            for (person, strength), noise in zip(kinds, noises, strict=True)
        ]

    together = run(denoiser, rows(), (4,))
    alone = [run(denoiser, [row], (1,))[0] for row in rows()]
    assert max(far(a, b) for a, b in zip(together, alone, strict=True)) <= TOLERANCE


def test_strength_0_is_the_plain_model(adapter, people):
    conditioning = adapter.condition(people[0], scene(strength=0.0))
    assert conditioning.image is None
    assert conditioning.negative_image is None


def test_a_prompt_that_is_too_long_is_refused_before_anything_runs(adapter):
    with pytest.raises(PromptTooLong):
        adapter.check_scene(scene(prompt="very " * 80), 1)


def test_it_needs_neither_a_recogniser_nor_a_pose(adapter):
    assert adapter.face_space is None
    assert not adapter.takes_pose


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda key: None if key == "image_proj.latents" else key, "not an IP-Adapter plus checkpoint"),
        (lambda key: None if key.endswith("1.to_k_ip.weight") else key, "lacks .* weights that this UNet needs"),
        (lambda key: key.replace("ip_adapter.1.", "ip_adapter.2."), "lacks .* weights that this UNet needs"),
    ],
    ids=["another-kind", "a-layer-missing", "another-order"],
)
def test_a_file_that_does_not_fit_is_refused(golden, published, spoil, problem):
    state = {spoil(key): tensor for key, tensor in published.items() if spoil(key) is not None}
    with pytest.raises(ValueError, match=problem):
        split_ip_adapter(state, make_unet(golden))


def test_an_image_encoder_of_another_width_is_refused_with_both(golden, published):
    config = VISION | {"hidden_size": 16}
    other = CLIPVisionModelWithProjection(CLIPVisionConfig(**config)).state_dict()
    with pytest.raises(ValueError, match="width 24; this one has 16"):
        build_ip_adapter(published, config, other, make_unet(golden), golden.text)
