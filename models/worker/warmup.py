"""Everything the first caller would pay for, paid before Ready: kernels, caches and thread pools.

Each part runs on the thread that will do it for callers: torch's thread pools and kernel caches are kept per thread,
and warming them elsewhere left the first job four times slower than the second.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import skimage.data
import torch

from models.adapters.adapter import Scene, Size
from models.bundle.bundle import Bundle, Stack
from models.engine.engine import Engine
from models.engine.plan import make_plan
from models.engine.rows import BatchKey, Row, initial_latent
from models.faces.face import Face, FaceAnalyzer
from models.faces.judge import PhotoLimits, judge
from models.finish.encoding import encode_image
from models.finish.jpeg import Encode
from models.sdxl.conditioning import RowConditioning
from models.sdxl.denoiser import Denoiser
from models.sdxl.speed import Speed
from models.wire.groups import size_text
from models.wire.order import Words
from models.wire.picture import Picture

log = logging.getLogger(__name__)

USUAL_SIZES: Sequence[Size] = ((1024, 1024), (896, 1152), (832, 1216), (768, 768), (512, 512))
ROOM_BYTES = 6 << 30  # free device memory below which no further size is learned
Conditionings = Mapping[Size, Mapping[str, RowConditioning]]  # by size and adapter


def warm_preparation(bundle: Bundle, analyzer: FaceAnalyzer) -> Conditionings:
    """The preparation thread's part: faces, identity and prompt; what each adapter makes of them at each size."""
    pixels = skimage.data.astronaut()  # NASA, public domain: a real face, so that every part of the face path runs
    for space in {stack.adapter.face_space for stack in bundle.stacks.values()}:
        judge(pixels, analyzer.for_space(space).analyze(pixels), PhotoLimits(), "largest")
    picture = Picture(width=pixels.shape[1], height=pixels.shape[0], rgb=pixels.tobytes())
    identities = {name: stack.adapter.identity([picture], [_nobody(stack)]) for name, stack in bundle.stacks.items()}
    return {
        size: {
            name: stack.adapter.condition(identities[name], _scene(bundle, size))
            for name, stack in bundle.stacks.items()
        }
        for size in sizes_to_warm(bundle)
    }


def sizes_to_warm(bundle: Bundle) -> list[Size]:
    """The default first. A CPU learns nothing of a size, so it warms no other."""
    default, sizes = bundle.info.default_size, bundle.info.sizes
    usual = USUAL_SIZES if bundle.device.type == "cuda" else ()
    return [default, *(size for size in usual if size in sizes and size != default)]


def buckets_to_warm(buckets: Sequence[int], device: torch.device, speed: Speed) -> list[int]:
    """Ascending. All that something is recorded, compiled or tuned for; a CPU that compiles nothing has no such thing.

    There the smallest stands for all, and the largest for the memory that is needed: between them a first call took as
    long as a third (284 and 278 ms for two rows, 587 and 613 for five), and warming all of eight 8 s.
    """
    return sorted({buckets[0], buckets[-1]}) if device.type == "cpu" and speed.compile == "off" else list(buckets)


def warm_engine(bundle: Bundle, conditionings: Conditionings, buckets: Sequence[int]) -> None:
    """The engine thread's part: these buckets of every kind of row at each size, and the decoders.

    The default size must go; for another there may be no memory left, and then its calls run as they are.
    """
    with _recording(bundle):
        for size, by_adapter in conditionings.items():
            if size == bundle.info.default_size:
                _warm_size(bundle, size, by_adapter, buckets)
                continue
            try:
                if _free_bytes(bundle.device) < ROOM_BYTES:
                    raise torch.OutOfMemoryError
                _warm_size(bundle, size, by_adapter, buckets)
            except torch.OutOfMemoryError:
                log.warning("no memory to learn pictures of %dx%d and further sizes: they will be slower", *size)
                break
    if bundle.device.type == "cuda":
        torch.cuda.synchronize(bundle.device)


def warm_finishing(bundle: Bundle, encode_jpeg: Encode) -> None:
    """The finishing thread's part: the codecs."""
    width, height = bundle.info.default_size
    pixels = torch.zeros(height, width, 3, dtype=torch.uint8)
    for image_format in ("jpeg", "webp", "png"):
        encode_image(pixels, image_format, 90, encode_jpeg)


@contextlib.contextmanager
def _recording(bundle: Bundle) -> Iterator[None]:
    decoders = [decoder for decoder in (bundle.decoder, bundle.preview_decoder) if decoder is not None]
    with contextlib.ExitStack() as learners:
        for denoiser in _denoisers(bundle):
            learners.enter_context(denoiser.recording())
        for decoder in decoders:
            learners.enter_context(decoder.calls.recording())
        yield


def _denoisers(bundle: Bundle) -> list[Denoiser]:
    """Each once, however many adapters share it."""
    return list({stack.denoiser.name: stack.denoiser for stack in bundle.stacks.values()}.values())


def _warm_size(bundle: Bundle, size: Size, by_adapter: Mapping[str, RowConditioning], buckets: Sequence[int]) -> None:
    """The largest bucket first: recordings of smaller ones then share its memory."""
    for bucket in sorted(buckets, reverse=True):
        for denoiser in _denoisers(bundle):
            own = [by_adapter[name] for name, stack in bundle.stacks.items() if stack.denoiser is denoiser]
            for conditioning in _kinds(own):
                _run(bundle, denoiser, size, conditioning, bucket)


def _kinds(conditionings: Sequence[RowConditioning]) -> list[RowConditioning]:
    """One of each kind of row, as the networks see it: with a picture's tokens, with keypoints, with neither."""
    nobody = replace(conditionings[0], image=None, negative_image=None, controls=(), negative_controls=())
    return list({(c.image is not None, bool(c.controls)): c for c in (*conditionings, nobody)}.values())


def _run(bundle: Bundle, denoiser: Denoiser, size: Size, conditioning: RowConditioning, rows: int) -> None:
    """Two steps of a full batch; the second finds what the first one made."""
    info, factor = bundle.info, bundle.decoder.factor
    width, height = size
    plan = make_plan(info.default_sampler, 2, bundle.process)
    shape = (bundle.decoder.latent_channels, height // factor, width // factor)
    engine = Engine(denoiser, bundle.decoder, buckets=(rows,))
    for index in range(rows):
        engine.add(
            Row(
                job_id="warm-up",
                index=index,
                seed=index,
                key=BatchKey(info.name, denoiser.name, width, height, info.default_guidance > 1),
                plan=plan,
                conditioning=conditioning,
                guidance=info.default_guidance,
                deadline=math.inf,
                latent=initial_latent(index, plan, shape, bundle.device),
            )
        )
    while engine.has_work:
        engine.tick()
    if bundle.preview_decoder is not None:
        bundle.preview_decoder.decode(initial_latent(0, plan, shape, bundle.device)[None])


def _free_bytes(device: torch.device) -> int:
    """Of the device's memory; what torch holds in reserve counts, for a recording takes from there first."""
    if device.type != "cuda":
        return ROOM_BYTES
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve


def _scene(bundle: Bundle, size: Size) -> Scene:
    sampling = msgspec.structs.replace(bundle.info.sampling, size=size_text(size), strength=1.0)
    return Scene(words=Words(prompt="portrait photo of a person"), sampling=sampling)


def _nobody(stack: Stack) -> Face:
    """No person, but of the shape that a face brings."""
    space = stack.adapter.face_space
    embedding = np.zeros(512, np.float32) if space else None
    return Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2), np.float32), 1.0, embedding, space)
