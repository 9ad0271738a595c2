"""Files as phones and cameras write and lose them: with more behind the picture, and with less than all of it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.wire.picture import Picture
from service.decoders.decoder import load_codecs
from service.decoders.outline import outline
from service.decoders.pixels import read_pixels
from service.decoders.protocol import Decoded, ImageLimits, Refused
from tests.service.pictures import box, brand, cut, jpeg_with, noise, photo, plain, saved, scan_bomb

CALLERS = Path(__file__).parents[1] / "callers"
LIMITS = ImageLimits()
JPEG = plain("JPEG")
VIDEO = brand(b"mp42", b"isom") + box(b"mdat", b"\xff\xda" * 100 + noise(1, 5000))
TRAILERS = {
    "google_motion_photo": VIDEO,
    "samsung_motion_photo": b"\0\0\x30\x0aMotionPhoto_Data" + VIDEO + b"SEFH\x6b\0\0\0SEFT",
    "heic_motion_photo": box(b"mpvd", VIDEO),
    "scans": b"\xff\xda" * 1000,
    "another_jpeg": JPEG * 70,
    "fill_bytes": b"\xff" * 500,
    "line_end": b"\r\n",
}


@pytest.fixture(scope="module")
def formats() -> Iterator[list[str]]:
    pixels_at_most = Image.MAX_IMAGE_PIXELS
    yield load_codecs(True)[0]
    Image.MAX_IMAGE_PIXELS = pixels_at_most


@pytest.fixture
def read(formats: list[str]) -> Callable[[bytes], Decoded | Refused]:
    return lambda data: read_pixels(data, LIMITS, formats)


Read = Callable[[bytes], Decoded | Refused]


def pixels(answer: Decoded | Refused | Picture) -> np.ndarray:
    assert isinstance(answer, Decoded), answer
    return np.frombuffer(answer.rgb, np.uint8).reshape(answer.height, answer.width, 3)


def progressive() -> bytes:
    return saved(photo(), "JPEG", progressive=True)


class TestBehindAndInside:
    @pytest.mark.parametrize("trailer", TRAILERS)
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
    def test_what_comes_after_a_picture_is_not_looked_at(self, read: Read, kind: str, trailer: str):
        assert read(plain(kind) + TRAILERS[trailer]) == read(plain(kind))

    @pytest.mark.parametrize(
        ("make", "scans"),
        [
            (lambda: JPEG, 1),
            (lambda: jpeg_with(0xE1, b"Exif\0\0" + scan_bomb(70)), 1),  # a thumbnail
            (lambda: jpeg_with(0xE1, *[b"http://ns.adobe.com/xmp/extension/\0" + b"\xff\xda" * 30_000] * 5), 1),
            (lambda: jpeg_with(0xE2, b"MPF\0" + b"\xff\xda" * 99), 1),
            (lambda: jpeg_with(0xFE, b"\xff\xd9\xff\xda" * 99), 1),  # an end that is none
            (lambda: JPEG[:2] + b"\xff" * 99 + JPEG[2:], 1),
            (lambda: saved(photo(), "JPEG", restart_marker_blocks=1), 1),
            (progressive, 10),
            (lambda: progressive() + VIDEO, 10),
            (lambda: saved(photo(), "MPO", save_all=True, append_images=[photo(64, 64)] * 99), 1),
            ((CALLERS / "motion-photo.jpg").read_bytes, 1),
        ],
    )
    def test_scans_are_those_of_the_first_picture(self, read: Read, make: Callable[[], bytes], scans: int):
        assert outline("JPEG", make()).scans == scans
        assert isinstance(read(make()), Decoded)

    @pytest.mark.parametrize(
        "between", [b"", b"\xff" * 9, b"rubbish", b"\xff\x00", b"\xff\xd0", b"\xff\x01", b"\xff\xff\x00"]
    )
    @pytest.mark.parametrize("after", [b"", VIDEO])
    def test_a_scan_bomb_is_refused_however_it_is_wrapped(self, read: Read, between: bytes, after: bytes):
        answer = read(scan_bomb(100).replace(b"\xff\xda", between + b"\xff\xda") + after)
        assert isinstance(answer, Refused)
        assert (answer.code, answer.limit) == ("image_too_many_scans", 64)
        assert isinstance(answer.value, int)
        assert answer.value >= 100

    @pytest.mark.parametrize("size", [(8192, 6144), (8160, 6144), (8160, 6120), (8320, 6240)])
    def test_what_is_sold_as_fifty_megapixels_is_read(self, read: Read, size: tuple[int, int]):
        answer = read(saved(Image.new("L", size, 200), "JPEG"))
        assert max(pixels(answer).shape) == 1536


class TestCut:
    def test_a_jpeg_that_lacks_only_its_end_is_whole(self, read: Read):
        for data in (JPEG, (CALLERS / "motion-photo.jpg").read_bytes().partition(b"\xff\xd9")[0] + b"\xff\xd9"):
            assert read(data.removesuffix(b"\xff\xd9")) == read(data)
        lost = read((CALLERS / "jpeg-without-eoi.jpg").read_bytes())
        assert (pixels(lost).shape, lost.truncated) == ((260, 260, 3), False)  # type: ignore[union-attr]

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    @pytest.mark.parametrize("percent", [50, 75, 90])
    def test_a_picture_in_rows_is_read_as_far_as_they_go(self, read: Read, kind: str, percent: int):
        whole, answer = pixels(read(plain(kind))), read(cut(kind, percent))
        assert isinstance(answer, Decoded)
        assert answer.truncated
        received = pixels(answer)
        assert 0.3 * len(whole) < len(received) < len(whole)
        sure = len(received) - 18  # the last row of blocks is there in part, and shines through
        assert (received[:sure] == whole[:sure]).all()

    def test_rows_are_those_of_the_file_however_it_is_turned(self, read: Read):
        exif = Image.Exif()
        exif[0x0112] = 6
        data = saved(photo(), "JPEG", exif=exif)
        answer = read(data[: len(data) * 3 // 4])
        assert pixels(answer).shape[0] == 256
        assert pixels(answer).shape[1] < 256

    def test_a_progressive_jpeg_shows_all_of_the_picture_and_less_of_its_detail(self, read: Read):
        whole, data = pixels(read(progressive())), progressive()
        answer = read(data[: len(data) // 2])
        assert isinstance(answer, Decoded)
        assert answer.truncated
        assert pixels(answer).shape == whole.shape
        assert abs(pixels(answer).astype(int) - whole).mean() < 12

    @pytest.mark.parametrize(
        "make",
        [
            *(lambda kind=kind: cut(kind, 60) for kind in ("WEBP", "HEIF", "AVIF")),
            lambda: JPEG[:300],
            lambda: JPEG[:1000],
            lambda: cut("PNG", 1),
            lambda: plain("WEBP")[:40],
        ],
    )
    def test_what_shows_nothing_is_refused_by_its_name(self, read: Read, make: Callable[[], bytes]):
        answer = read(make())
        assert isinstance(answer, Refused)
        assert answer.code == "image_truncated"
        assert "send it again" in answer.message

    @pytest.mark.parametrize("data", [b"\xff\xd8\xff\xd9", JPEG[:200] + noise(4, 9000), JPEG[:2] * 99])
    def test_what_is_damaged_is_not_called_cut(self, read: Read, data: bytes):
        answer = read(data)
        assert isinstance(answer, Refused)
        assert answer.code == "image_undecodable"
