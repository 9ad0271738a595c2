"""Everything the first caller would pay for, paid before Ready: kernels, caches and threads for every bucket."""

import math

import numpy as np
import torch

from models.adapters.adapter import Wish
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.faces.face import Face, FaceAnalyzer
from models.finish.encoding import encode_image
from models.messages import Picture
from models.weights.bundle import Bundle, Stack

PICTURE_SIDE = 512


def warm_up(bundle: Bundle, analyzer: FaceAnalyzer, buckets: tuple[int, ...]) -> None:
    """One picture through the face path, and for each adapter every bucket once through a whole job."""
    pixels = np.random.default_rng(0).integers(0, 255, (PICTURE_SIDE, PICTURE_SIDE, 3), dtype=np.uint8)
    analyzer.analyze(pixels)
    picture = Picture(width=PICTURE_SIDE, height=PICTURE_SIDE, rgb=pixels.tobytes())
    for stack in bundle.stacks.values():
        for bucket in buckets:
            _run(bundle, stack, picture, bucket, steps=bundle.info.default_steps if bucket == 1 else 1)


def _run(bundle: Bundle, stack: Stack, picture: Picture, rows: int, steps: int) -> None:
    width, height = bundle.info.default_size
    guided = bundle.info.default_guidance > 1
    wish = Wish(
        prompt="portrait photo of a person",
        negative_prompt=None,
        subject="person",
        width=width,
        height=height,
        num_steps=steps,
        strength=1.0,
        guided=guided,
    )
    conditioning = stack.adapter.condition(stack.adapter.identity([picture], [_nobody(stack)]), wish)
    plan = make_plan(bundle.info.default_sampler, steps, bundle.schedule)
    factor = bundle.decoder.factor
    shape = (bundle.decoder.latent_channels, height // factor, width // factor)
    engine = Engine(stack.denoiser, bundle.decoder, buckets=(rows,))
    for index in range(rows):
        engine.add(
            Row(
                job_id="warm-up",
                index=index,
                seed=index,
                key=BatchKey(bundle.info.name, stack.adapter.name, width, height, guided),
                plan=plan,
                conditioning=conditioning,
                guidance=bundle.info.default_guidance,
                deadline=math.inf,
                latent=initial_latent(index, plan, shape, bundle.device),
            )
        )
    while engine.has_work:
        for finished in engine.tick().finished[:1]:
            encode_image(finished.pixels, "jpeg", 90)
    if bundle.device.type == "cuda":
        torch.cuda.synchronize(bundle.device)


def _nobody(stack: Stack) -> Face:
    """No person, but of the shape that a face brings."""
    space = stack.adapter.face_space
    embedding = np.zeros(512, np.float32) if space else None
    return Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2), np.float32), 1.0, embedding, space)
