"""What makes networks fast, where it really runs. Skipped, and said so, where there is no GPU."""

import io
from functools import partial

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import nn

from models.bundle.modules import Place
from models.engine.decoding import at_once, decoding_on
from models.engine.graphs import CudaRecorder, GraphPool
from models.finish.jpeg import encode_on_cpu
from models.finish.jpeg_choice import choose_jpeg_encoder
from models.finish.nv_image_codec import NvImageCodec
from models.sdxl.compiling import compile_blocks
from models.sdxl.denoiser import Denoiser
from models.sdxl.fp8 import Fp8Linear
from models.sdxl.kernels import choose_kernel
from models.sdxl.vae import Decoder
from scripts.golden.instantid import InstantIDFolder
from tests.models.conftest import GOLDEN_INSTANTID
from tests.models.sdxl.rows import HEIGHT, WIDTH, conditioning_of, mates

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="NO GPU HERE: nothing of CUDA is tested in this run"),
]
DEVICE = torch.device("cuda:0")


@pytest.fixture
def parts():
    folder = InstantIDFolder(GOLDEN_INSTANTID, Place(DEVICE, torch.float32))
    adapter, denoiser, *_ = folder.parts
    return folder, denoiser, conditioning_of(folder, adapter)


def call(denoiser, rows, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(rows), 4, HEIGHT // 8, WIDTH // 8, generator=generator).to(DEVICE)
    timesteps = torch.tensor([999, 499, 249, 99][: len(rows)], device=DEVICE)
    return denoiser.predict(noise, timesteps, [(row, 0) for row in rows])


def test_a_graph_of_the_network_gives_what_the_network_gives(parts):
    _, plain, conditioning = parts
    make = partial(GraphPool, recorder=CudaRecorder(DEVICE))
    runner = Denoiser(plain.modules()[0], nets=plain.nets, make_runner=make)
    rows = mates(conditioning) * 2
    with runner.recording():
        for count in (4, 2, 1):
            call(runner, rows[:count])
    for seed in range(2, 5):
        for count in (1, 2, 3, 4):  # three are filled up
            wanted = call(plain, rows[:count], seed)
            assert torch.allclose(call(runner, rows[:count], seed), wanted, rtol=1e-3, atol=1e-3)
    assert runner.num_recordings >= 3


def test_a_picture_decoded_beside_steps_is_the_picture(parts):
    folder, denoiser, conditioning = parts
    make = partial(GraphPool, recorder=CudaRecorder(DEVICE))
    decoder = Decoder(folder.vae, make_runner=make)
    latents = torch.randn(6, 4, HEIGHT // 8, WIDTH // 8, device=DEVICE)
    wanted = [at_once(Decoder(folder.vae))(latent).pixels() for latent in latents]
    start = decoding_on(DEVICE, decoder)
    with decoder.calls.recording():
        start(latents[0]).pixels()
    under_way = []
    for latent in latents:
        under_way.append(start(latent.clone()))
        call(denoiser, [conditioning] * 2)
    for decoding, picture in zip(under_way, wanted, strict=True):
        pixels = decoding.pixels()
        assert decoding.is_done
        assert decoding.seconds > 0
        assert (pixels.int() - picture.int()).abs().max() <= 1


def test_compiled_blocks_give_what_blocks_give(parts):
    _, denoiser, conditioning = parts
    rows = mates(conditioning)
    wanted = call(denoiser, rows)
    compile_blocks(denoiser.modules()[0])
    assert torch.allclose(call(denoiser, rows), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="8-bit products need sm_89"
)
def test_an_8_bit_product_is_near_the_exact_one():
    exact = nn.Linear(1280, 3840, device=DEVICE, dtype=torch.bfloat16).requires_grad_(False)
    x = torch.randn(2, 1024, 1280, device=DEVICE, dtype=torch.bfloat16)
    near = Fp8Linear(exact.weight, exact.bias)(x)
    assert float((near - exact(x)).norm() / exact(x).norm()) < 0.05


def test_some_kernel_is_chosen():
    assert choose_kernel(DEVICE, torch.bfloat16).name


def test_a_jpeg_of_the_device_is_as_good_as_the_cpu_s():
    pixels = torch.from_numpy(skimage.data.astronaut().copy())
    encoders = (encode_on_cpu, NvImageCodec(DEVICE), choose_jpeg_encoder(DEVICE).encode)
    for quality in (90, 95):
        apart = [
            np.abs(np.asarray(Image.open(io.BytesIO(encode(pixels, quality)))) - pixels.numpy().astype(int)).mean()
            for encode in encoders
        ]
        assert max(apart[1:]) <= 1.1 * apart[0]
