"""JPEG encoders and the choice between them. nvImageCodec runs here by its CPU codecs: the same calls, no GPU."""

import io

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, JpegImagePlugin

from models.finish.jpeg import ON_CPU, JpegEncoder, encode_on_cpu
from models.finish.jpeg_choice import choose_jpeg_encoder, quicker
from models.finish.nv_image_codec import NvImageCodec

PIXELS = torch.from_numpy(skimage.data.astronaut()[:300, :400].copy())  # NASA, public domain; not square
CPU = torch.device("cpu")
TWICE_AS_QUICK = {"libjpeg-turbo": 2.0, "candidate": 1.0}


def candidate(encode):
    return JpegEncoder("candidate", encode)


def chosen(encode, seconds=TWICE_AS_QUICK):
    """By a clock that knows who is asked: the CPU first."""
    answers = iter(seconds.values())
    return quicker(candidate(encode), lambda call: next(answers))


def broken(pixels, quality):
    raise RuntimeError("not built for this device")


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.fixture(scope="module")
def nvimagecodec():
    pytest.importorskip("nvidia.nvimgcodec", reason="nvImageCodec is for Linux on x86-64 alone")
    return NvImageCodec(CPU)


@pytest.mark.parametrize(("quality", "sampling"), [(50, 2), (90, 2), (91, 0), (100, 0)])  # Pillow's 4:2:0 and 4:4:4
@pytest.mark.parametrize("encoder", ["cpu", "nvimagecodec"])
def test_colours_are_halved_up_to_quality_90_and_whole_above(encoder, quality, sampling, request):
    encode = encode_on_cpu if encoder == "cpu" else request.getfixturevalue("nvimagecodec")
    image = opened(encode(PIXELS, quality))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (400, 300))
    assert JpegImagePlugin.get_sampling(image) == sampling
    assert not image.getexif()


def test_nvimagecodec_s_jpeg_is_as_close_to_the_picture_as_the_cpu_s(nvimagecodec):
    apart = [
        np.abs(np.asarray(opened(encode(PIXELS, 90))) - PIXELS.numpy().astype(int)).mean()
        for encode in (encode_on_cpu, nvimagecodec)
    ]
    assert apart[1] <= 1.05 * apart[0]
    assert chosen(nvimagecodec).name == "candidate"


def test_a_slower_encoder_is_not_chosen():
    assert chosen(encode_on_cpu).name == "candidate"
    assert chosen(encode_on_cpu, {"libjpeg-turbo": 1.0, "candidate": 2.0}) is ON_CPU


@pytest.mark.parametrize(
    "encode",
    [
        broken,
        lambda pixels, quality: b"no picture",
        lambda pixels, quality: encode_on_cpu(pixels.flip(2), quality),  # blue for red
        lambda pixels, quality: encode_on_cpu(pixels[:512], quality),
        lambda pixels, quality: encode_on_cpu(pixels, 60),
        lambda pixels, quality: encode_on_cpu(pixels, 97),
    ],
    ids=["broken", "no picture", "other colours", "another size", "worse", "too long"],
)
def test_an_encoder_that_fails_or_whose_jpegs_are_worse_or_longer_is_not_chosen(encode):
    assert chosen(encode) is ON_CPU


def test_a_picture_is_not_lost_when_the_chosen_encoder_fails_later():
    calls = iter([encode_on_cpu])

    def fails_at_last(pixels, quality):
        return next(calls, broken)(pixels, quality)

    encoder = chosen(fails_at_last)
    assert encoder.name == "candidate"
    assert encoder.encode(PIXELS, 90) == encode_on_cpu(PIXELS, 90)


def test_on_a_cpu_there_is_nothing_to_choose():
    assert choose_jpeg_encoder(CPU) is ON_CPU


@pytest.mark.parametrize("error", [ImportError("nothing is installed"), RuntimeError("no such device")], ids=repr)
def test_where_the_library_or_the_device_is_not_there_the_cpu_encodes(error, monkeypatch):
    def missing(device):
        raise error

    monkeypatch.setattr("models.finish.jpeg_choice.NvImageCodec", missing)
    assert choose_jpeg_encoder(torch.device("cuda")) is ON_CPU


def test_a_device_that_is_not_there_is_said_at_once_and_the_cpu_encodes(nvimagecodec):
    absent = torch.device("cuda:99")
    with pytest.raises(RuntimeError):
        NvImageCodec(absent)
    assert choose_jpeg_encoder(absent) is ON_CPU
