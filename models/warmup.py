"""Everything the first caller would pay for, paid before Ready: kernels, caches and thread pools for every bucket.

Each part runs on the thread that will do it for callers: torch's thread pools and kernel caches are kept per thread,
and warming them elsewhere left the first job four times slower than the second.
"""

import math

import numpy as np
import skimage.data
import torch

from models.adapters.adapter import Wish
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.faces.face import Face, FaceAnalyzer
from models.faces.judge import Limits, judge
from models.finish.encoding import encode_image
from models.messages import Picture
from models.sdxl.conditioning import RowConditioning
from models.weights.bundle import Bundle, Stack


def warm_preparation(bundle: Bundle, analyzer: FaceAnalyzer) -> dict[str, RowConditioning]:
    """The preparation thread's part: faces, identity and prompt; one conditioning for each adapter."""
    pixels = skimage.data.astronaut()  # NASA, public domain: a real face, so that every part of the face path runs
    for space in {stack.adapter.face_space for stack in bundle.stacks.values()}:
        judge(pixels, analyzer.for_space(space).analyze(pixels), Limits(), "largest")
    picture = Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.tobytes())
    conditionings = {}
    for name, stack in bundle.stacks.items():
        identity = stack.adapter.identity([picture], [_nobody(stack)])
        conditionings[name] = stack.adapter.condition(identity, _wish(bundle))
    return conditionings


def warm_engine(bundle: Bundle, conditionings: dict[str, RowConditioning], buckets: tuple[int, ...]) -> None:
    """The engine thread's part: for each adapter every bucket, the default size, and the decoder."""
    for name, stack in bundle.stacks.items():
        for bucket in buckets:
            _run(bundle, stack, conditionings[name], bucket)
    if bundle.device.type == "cuda":
        torch.cuda.synchronize(bundle.device)


def warm_finishing(bundle: Bundle) -> None:
    """The finishing thread's part: the codecs."""
    width, height = bundle.info.default_size
    pixels = torch.zeros(height, width, 3, dtype=torch.uint8)
    for image_format in ("jpeg", "webp", "png"):
        encode_image(pixels, image_format, quality=90)


def _run(bundle: Bundle, stack: Stack, conditioning: RowConditioning, rows: int) -> None:
    """Two steps of a full batch; the second finds what the first one made."""
    info, factor = bundle.info, bundle.decoder.factor
    width, height = info.default_size
    plan = make_plan(info.default_sampler, 2, bundle.schedule)
    shape = (bundle.decoder.latent_channels, height // factor, width // factor)
    engine = Engine(stack.denoiser, bundle.decoder, buckets=(rows,))
    for index in range(rows):
        engine.add(
            Row(
                job_id="warm-up",
                index=index,
                seed=index,
                key=BatchKey(info.name, stack.denoiser.name, width, height, info.default_guidance > 1),
                plan=plan,
                conditioning=conditioning,
                guidance=info.default_guidance,
                deadline=math.inf,
                latent=initial_latent(index, plan, shape, bundle.device),
            )
        )
    while engine.has_work:
        engine.tick()


def _wish(bundle: Bundle) -> Wish:
    width, height = bundle.info.default_size
    return Wish(
        prompt="portrait photo of a person",
        negative_prompt=None,
        subject="person",
        width=width,
        height=height,
        num_steps=bundle.info.default_steps,
        strength=1.0,
        guided=bundle.info.default_guidance > 1,
    )


def _nobody(stack: Stack) -> Face:
    """No person, but of the shape that a face brings."""
    space = stack.adapter.face_space
    embedding = np.zeros(512, np.float32) if space else None
    return Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2), np.float32), 1.0, embedding, space)
