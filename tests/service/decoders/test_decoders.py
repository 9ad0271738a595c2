"""The decoder pool with real child processes: every file of the corpus, and every way that a child can end."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
import pytest
from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat

from models.wire.picture import Picture
from models.wire.tray import Tray
from service.decoders import decoder
from service.decoders.content import name_content
from service.decoders.pool import Decoders
from service.decoders.process import DecoderDied, DecoderProcess
from service.decoders.protocol import ImageLimits, Refused
from service.errors import BadPicture, NoCapacity, ServiceError, TooLarge, UnsupportedMedia
from tests.service.decoders.corpus import FILES, HostileFile
from tests.service.pictures import (
    display_p3_profile,
    grey_16_bit,
    half_transparent,
    heic_album,
    photo,
    plain,
    png,
    png_bomb,
    rgb_48_bit,
    saved,
    scan_bomb,
    turned,
)

T = TypeVar("T")
linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")

# Generous: the machine that runs the tests may be busy, and only the tests about time are about time.
PATIENT = ImageLimits(decode_seconds=20.0)


class Pool:
    """One Decoders on one loop for a whole test file, so that 150 files don't cost 150 starts."""

    def __init__(self, limits: ImageLimits, **options: Any) -> None:
        self.runner = asyncio.Runner()
        self.decoders = Decoders(limits, **options)
        self.run(self.decoders.start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def decode(self, data: bytes | bytearray | memoryview) -> Picture:
        return self.run(self.decoders.decode(data))

    def close(self) -> None:
        self.run(self.decoders.stop())
        self.runner.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(PATIENT, processes=1)
    yield pool
    pool.close()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., Pool]]:
    pools: list[Pool] = []

    def make(limits: ImageLimits, **options: Any) -> Pool:
        pools.append(Pool(limits, **options))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def as_image(picture: Picture) -> Image.Image:
    return Image.frombytes("RGB", (picture.width, picture.height), picture.pixels)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference per channel, of 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def slow_picture(seconds_at_least: int = 1) -> bytes:
    """Takes a modern core several seconds for each one asked for, where scans are not counted."""
    return scan_bomb(1000 * seconds_at_least, side=2000)


UNCOUNTED = 1_000_000


def impatient(seconds: float) -> ImageLimits:
    return ImageLimits(decode_seconds=seconds, decode_seconds_a_megapixel=0.05, max_scans=UNCOUNTED)


async def outcome_of(decoders: Decoders, data: bytes) -> Picture | ServiceError:
    try:
        return await decoders.decode(data)
    except ServiceError as refusal:
        return refusal


class TestTrays:
    def test_pixels_lie_on_a_tray_and_are_the_same_in_a_message_where_there_are_none(
        self, pool: Pool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        on_tray = pool.decode(plain("PNG"))
        monkeypatch.setattr(Tray, "empty", lambda size: None)
        in_message = pool.decode(plain("PNG"))
        assert in_message.tray is None
        assert len(in_message.rgb) == in_message.num_bytes
        assert bytes(on_tray.pixels) == in_message.rgb
        if sys.platform == "linux":
            assert (on_tray.rgb, on_tray.tray is None) == (b"", False)

    @pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
    def test_no_descriptor_is_left_of_pictures_that_nobody_holds(self, pool: Pool) -> None:
        mine = psutil.Process()
        [decoder] = map(psutil.Process, pool.decoders.process_ids)
        pool.decode(plain("PNG"))
        before = mine.num_fds(), decoder.num_fds()
        for _ in range(20):
            pool.decode(plain("PNG"))
        assert (mine.num_fds(), decoder.num_fds()) == before


class TestCorpus:
    @pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
    def test_every_file_of_the_corpus_gets_its_answer(self, pool: Pool, file: HostileFile) -> None:
        outcome = pool.run(outcome_of(pool.decoders, file.data))
        if isinstance(outcome, Picture):
            assert file.expect.status is None or file.expect.or_fine
            assert max(outcome.width, outcome.height) <= 1536
            assert len(outcome.pixels) == 3 * outcome.width * outcome.height
        else:
            assert (outcome.status, outcome.code) in {(file.expect.status, code) for code in file.expect.codes}
            assert outcome.message.isprintable()
            assert outcome.message.endswith(".")

    def test_the_corpus_ended_no_decoder(self, pool: Pool) -> None:
        assert len(FILES) >= 60
        assert pool.decoders.restarts == 0

    def test_a_refusal_carries_value_and_limit(self, pool: Pool) -> None:
        with pytest.raises(BadPicture, match="image_side_too_long") as caught:
            pool.decode(png_bomb())
        assert (caught.value.value, caught.value.limit) == (30_000, 12_000)

    @pytest.mark.parametrize(
        ("data", "words"),
        [(b"%PDF-1.7", "This is a PDF."), (b"  <svg>", "This is an SVG drawing."), (b"\x01", "not a picture that is")],
    )
    def test_what_is_no_picture_is_called_by_its_name(self, pool: Pool, data: bytes, words: str) -> None:
        with pytest.raises(UnsupportedMedia) as caught:
            pool.decode(data)
        assert words in caught.value.message
        assert "Send a JPEG, PNG, WebP, HEIC or AVIF picture." in caught.value.message


class TestPixels:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
    @pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
    def test_every_format_shows_the_photo(self, pool: Pool, kind: str, wrap: Callable[[bytes], bytes]) -> None:
        assert difference(as_image(pool.decode(wrap(plain(kind)))), photo()) < 8  # lossy codecs at their defaults

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation_ends_upright(self, pool: Pool, orientation: int) -> None:
        assert difference(as_image(pool.decode(turned(orientation))), photo(192, 256)) < 4

    def test_large_photos_are_shrunk_smoothly(self, pool: Pool) -> None:
        large = photo(512, 512).resize((2400, 3200), Image.Resampling.BICUBIC)
        for kind in ("JPEG", "PNG"):
            picture = as_image(pool.decode(saved(large, kind, compress_level=1)))
            assert picture.size == (1152, 1536)
            assert difference(picture, photo(512, 512).resize((1152, 1536), Image.Resampling.BICUBIC)) < 3

    @pytest.mark.parametrize("orientation", [1, 6])
    def test_a_phones_photo_is_what_a_slower_filter_makes_of_it(self, pool: Pool, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = saved(photo(512, 512).resize((3024, 4032), Image.Resampling.BICUBIC), "JPEG", quality=90, exif=exif)
        wanted = Image.open(BytesIO(data))
        wanted.draft(None, (1152, 1536))
        wanted.thumbnail((1536, 1536), Image.Resampling.HAMMING)
        wanted = ImageOps.exif_transpose(wanted)
        picture = as_image(pool.decode(data))
        assert picture.size == wanted.size
        apart = np.abs(np.asarray(picture, np.int16) - np.asarray(wanted))
        assert apart.mean() < 0.5
        assert apart.max() <= 6

    def test_sixteen_bit_grey_is_scaled_and_not_clipped(self, pool: Pool) -> None:
        ramp = [as_image(pool.decode(grey_16_bit())).getpixel((x, 9)) for x in (0, 64, 128, 255)]
        assert ramp == [(0, 0, 0), (64, 64, 64), (128, 128, 128), (255, 255, 255)]

    def test_sixteen_bits_a_channel_keep_their_high_bytes(self, pool: Pool) -> None:
        assert as_image(pool.decode(rgb_48_bit())).getpixel((200, 9)) == (200, 55, 128)

    @pytest.mark.parametrize("mode", ["LA", "RGBA"])
    def test_hidden_pixels_stay_hidden(self, pool: Pool, mode: str) -> None:
        picture = as_image(pool.decode(half_transparent(mode)))
        assert picture.getpixel((5, 128)) == (255, 255, 255)
        assert (
            difference(
                picture.crop((128, 0, 256, 256)), photo().convert(mode[:-1]).convert("RGB").crop((128, 0, 256, 256))
            )
            < 1
        )

    def test_cmyk_is_not_inverted(self, pool: Pool) -> None:
        data = saved(photo().convert("CMYK"), "JPEG", quality=95)
        assert difference(as_image(pool.decode(data)), photo()) < 4

    def test_display_p3_becomes_srgb(self, pool: Pool) -> None:
        """P3's pure red is outside sRGB; a P3 orange comes out stronger in sRGB numbers; greys stay put."""
        stripes = Image.new("RGB", (192, 64), (200, 100, 50))
        stripes.paste((128, 128, 128), (96, 0, 192, 64))
        picture = as_image(pool.decode(saved(stripes, "PNG", icc_profile=display_p3_profile())))
        red, green, blue = picture.getpixel((20, 32))  # type: ignore[misc]
        assert 205 < red < 235
        assert green < 100
        assert blue < 45
        grey = picture.getpixel((150, 32))
        assert isinstance(grey, tuple)
        assert max(abs(value - 128) for value in grey) <= 3

    def test_a_profile_that_changes_nothing_costs_nothing(self, pool: Pool) -> None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        for profile, is_same in ((srgb, True), (display_p3_profile(), False)):
            marked = pool.decode(saved(photo(), "JPEG", quality=90, icc_profile=profile))
            assert (marked.pixels == pool.decode(plain("JPEG")).pixels) is is_same

    def test_an_album_shows_its_first_picture(self, pool: Pool) -> None:
        assert difference(as_image(pool.decode(heic_album())), photo()) < 8

    def test_embedded_thumbnails_are_not_looked_at(self) -> None:
        """A HEIC's thumbnail may show another face than the picture."""
        script = (
            "from service.decoders.decoder import load_codecs; load_codecs(True)\n"
            "from pillow_heif import options as o\n"
            "assert (o.THUMBNAILS, o.DEPTH_IMAGES, o.AUX_IMAGES, o.DECODE_THREADS) == (False, False, False, 1)\n"
            "assert not o.DISABLE_SECURITY_LIMITS"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=30)

    def test_the_answer_has_no_metadata_left(self, pool: Pool) -> None:
        exif = Image.Exif()
        exif[0x010E] = "CANARY"
        picture = pool.decode(saved(photo(), "JPEG", exif=exif, comment=b"CANARY"))
        assert b"CANARY" not in bytes(picture.pixels)

    def test_content_counts_and_not_the_claim(self) -> None:
        assert name_content(plain("HEIF")) == "HEIC"
        assert name_content(plain("AVIF")) == "AVIF"
        assert name_content(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif") == "AVIF"
        assert name_content(b"") is None


class TestFaults:
    def test_a_picture_that_takes_too_much_processor_time_ends_its_decoder_and_the_next_is_served(
        self, make_pool: Callable[..., Pool]
    ) -> None:
        pool = make_pool(impatient(0.3), processes=1)
        (pid,) = pool.decoders.process_ids
        with pytest.raises(BadPicture, match="image_decode_timeout") as caught:
            pool.decode(slow_picture())
        assert caught.value.limit == 0.3
        assert "0.3 s, or 0.05 s a megapixel" in caught.value.message
        assert pool.decode(plain("PNG")).width == 256
        assert pool.decoders.restarts == 1
        assert not psutil.pid_exists(pid)

    def test_the_processor_time_is_each_pictures_own(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(impatient(0.3), processes=1)
        (pid,) = pool.decoders.process_ids
        picture = saved(photo(1024, 1024), "PNG", compress_level=1)
        before = psutil.Process(pid).cpu_times().user
        while psutil.Process(pid).cpu_times().user < before + 0.6:
            assert pool.decode(picture).width == 1024
        assert pool.decoders.restarts == 0

    def test_a_decoder_that_gets_no_processor_is_the_machines_fault(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(ImageLimits(decode_wall_seconds=0.2), processes=1)
        os.kill(pool.decoders.process_ids[0], signal.SIGSTOP)
        with pytest.raises(NoCapacity, match="decoders_busy"):
            pool.decode(plain("PNG"))
        assert pool.decoders.restarts == 1

    @pytest.mark.parametrize(
        ("size", "seconds"), [((640, 480), 3.0), ((4032, 3024), 3.0), ((5712, 4284), 4.89), ((8320, 6240), 10.38)]
    )
    def test_a_larger_picture_may_take_more_processor_time(self, size: tuple[int, int], seconds: float) -> None:
        assert ImageLimits().seconds_for(size) == pytest.approx(seconds, abs=0.01)

    @pytest.mark.parametrize(
        ("death", "code"), [(signal.SIGSEGV, "image_undecodable"), (signal.SIGKILL, "image_decode_memory")]
    )
    def test_a_decoder_that_falls_harms_its_own_request_only(
        self, make_pool: Callable[..., Pool], death: signal.Signals, code: str
    ) -> None:
        pool = make_pool(ImageLimits(decode_seconds=20.0, max_scans=UNCOUNTED), processes=2)

        async def fell_one() -> tuple[Any, list[Picture]]:
            victim = asyncio.create_task(pool.decoders.decode(slow_picture()))
            pid = await the_busy_one(pool.decoders)
            others = [asyncio.create_task(pool.decoders.decode(plain("PNG"))) for _ in range(5)]
            os.kill(pid, death)
            results = await asyncio.gather(victim, return_exceptions=True)
            return results[0], await asyncio.gather(*others)

        fault, others = pool.run(fell_one())
        assert isinstance(fault, BadPicture)
        assert fault.code == code
        assert [picture.width for picture in others] == [256] * 5
        assert pool.decoders.restarts == 1

    def test_a_decoder_that_died_idle_is_nobodys_fault(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(PATIENT, processes=1)
        os.kill(pool.decoders.process_ids[0], signal.SIGKILL)
        pool.run(asyncio.sleep(0.2))
        assert pool.decode(plain("JPEG")).width == 256
        assert pool.decoders.restarts == 1

    def test_a_stop_signal_to_the_whole_group_leaves_decoders_to_the_front(
        self, make_pool: Callable[..., Pool]
    ) -> None:
        pool = make_pool(PATIENT, processes=1)
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pool.decoders.process_ids[0], number)
        assert pool.decode(plain("JPEG")).width == 256
        assert pool.decoders.restarts == 0

    def test_a_cancelled_decode_leaves_nothing_of_its_picture_behind(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(ImageLimits(decode_seconds=20.0, max_scans=UNCOUNTED), processes=1)

        async def cancel_one() -> Picture:
            leaving = asyncio.create_task(pool.decoders.decode(slow_picture()))
            pid = await the_busy_one(pool.decoders)
            leaving.cancel()
            await asyncio.wait({leaving})
            picture = await pool.decoders.decode(plain("PNG"))
            assert not psutil.pid_exists(pid)
            return picture

        assert difference(as_image(pool.run(cancel_one())), photo()) == 0

    def test_a_decoder_that_cannot_be_replaced_is_tried_again(
        self, make_pool: Callable[..., Pool], caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = make_pool(PATIENT, processes=1, wait_seconds=0.5)
        pool.decoders.limits = ImageLimits(max_side="nonsense")  # type: ignore[arg-type]
        os.kill(pool.decoders.process_ids[0], signal.SIGKILL)
        pool.run(asyncio.sleep(0.1))
        with pytest.raises(NoCapacity, match="decoders_busy"):
            pool.decode(plain("JPEG"))
        for _ in range(200):  # until a decoder has started and ended, which takes a busy machine its time
            if "a decoder could not be started (attempt 1)" in caplog.text:
                break
            pool.run(asyncio.sleep(0.1))
        else:
            pytest.fail("no attempt was logged")
        pool.decoders.limits = PATIENT
        for _ in range(40):
            with contextlib.suppress(NoCapacity):
                assert pool.decode(plain("JPEG")).width == 256
                return
        pytest.fail("the decoder was not replaced")

    @pytest.mark.parametrize("options", [{"wait_seconds": 0.05}, {"max_waiting": 0}, {"max_waiting": 1}])
    def test_when_all_are_busy_the_rest_is_refused_in_time(
        self, make_pool: Callable[..., Pool], options: dict[str, Any]
    ) -> None:
        pool = make_pool(impatient(0.5), processes=1, **options)
        data = slow_picture()

        async def crowd() -> list[Any]:
            return await asyncio.gather(*[pool.decoders.decode(data) for _ in range(4)], return_exceptions=True)

        refusals = [fault for fault in pool.run(crowd()) if isinstance(fault, NoCapacity)]
        assert len(refusals) >= 2
        assert {(fault.code, fault.retry_after_seconds) for fault in refusals} == {("decoders_busy", 1)}

    def test_who_was_accepted_before_waits_through_any_crowd(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(PATIENT, processes=1, max_waiting=0, wait_seconds=0.0)
        data = plain("PNG")

        async def crowd() -> list[Any]:
            return await asyncio.gather(*[pool.decoders.decode(data, 20.0) for _ in range(4)])

        assert [picture.width for picture in pool.run(crowd())] == [256] * 4

    def test_more_pictures_than_decoders_take_turns(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(PATIENT, processes=2)

        async def crowd() -> list[Picture]:
            return await asyncio.gather(*[pool.decoders.decode(plain(kind)) for kind in ("PNG", "JPEG", "WEBP") * 5])

        assert [picture.width for picture in pool.run(crowd())] == [256] * 15

    async def test_before_start_and_after_stop_there_is_no_capacity(self) -> None:
        decoders = Decoders(PATIENT, processes=1)
        with pytest.raises(NoCapacity):
            await decoders.decode(plain("JPEG"))
        await decoders.start()
        pids = decoders.process_ids
        await decoders.decode(plain("JPEG"))
        await decoders.stop()
        assert not any(psutil.pid_exists(pid) for pid in pids)
        with pytest.raises(NoCapacity):
            await decoders.decode(plain("JPEG"))

    async def test_stopping_in_the_middle_of_a_picture_is_no_fault_of_the_picture(self) -> None:
        decoders = Decoders(ImageLimits(decode_seconds=20.0, max_scans=UNCOUNTED), processes=1)
        await decoders.start()
        decoding = asyncio.create_task(decoders.decode(slow_picture()))
        pid = await the_busy_one(decoders)
        await decoders.stop()
        with pytest.raises(NoCapacity, match="decoders_stopped"):
            await decoding
        assert not psutil.pid_exists(pid)
        assert decoders.restarts == 0

    async def test_a_decoder_that_cannot_start_is_said_at_start(self) -> None:
        decoders = Decoders(ImageLimits(max_side="nonsense"))  # type: ignore[arg-type]
        with pytest.raises(DecoderDied, match="a decoder ended"):
            await decoders.start()
        assert decoders.process_ids == []

    @pytest.mark.parametrize(
        ("code", "match"),
        [
            ("w(2**31, b'')", "too long"),
            ("w(5, b'hello')", "makes no sense"),
            ("w(9, b'cut')", "ended"),
            ("a(Decoded(width=99, height=99, rgb=b'x'))", "don't match"),
            ("a(Decoded(width=2000, height=1, rgb=b''))", "don't match"),
            ("a(Decoded(width=99, height=99, rgb=bytes(99 * 99 * 3)))", "don't match"),  # beside the tray
            ("a(DecoderReady(formats=[]))", "out of turn"),
            ("os._exit(3)", r"ended \(exit code 3\)"),
        ],
    )
    async def test_a_decoder_that_was_taken_over_is_not_believed(self, code: str, match: str) -> None:
        script = (
            "import os, sys; from service.decoders.protocol import *\n"
            "def w(n, body): sys.stdout.buffer.write(HEADER.pack(n) + body)\n"
            "def a(answer): body = encode(answer); w(len(body), body)\n"
            f"sys.stdin.buffer.read(5)\n{code}"
        )

        async def ask() -> Picture | Refused:
            child = await DecoderProcess.start((sys.executable, "-c", script), PATIENT)
            try:
                return await child.decode(memoryview(b"x"))
            finally:
                await child.end()

        with pytest.raises(DecoderDied, match=match):
            await ask()


async def the_busy_one(decoders: Decoders) -> int:
    """The child that has been computing for a while."""
    before = {pid: psutil.Process(pid).cpu_times().user for pid in decoders.process_ids}
    while True:
        await asyncio.sleep(0.02)
        for pid, seconds in before.items():
            if psutil.Process(pid).cpu_times().user > seconds + 0.1:
                return pid


class TestLimits:
    def test_a_picture_over_the_memory_limit_is_refused_and_the_next_is_served(
        self, make_pool: Callable[..., Pool]
    ) -> None:
        megabytes = 400  # a decoder at rest has some 300 of addresses, most of them of libraries
        pool = make_pool(ImageLimits(decode_seconds=20.0, decoder_memory_bytes=megabytes * 10**6), processes=1)
        large = png(7000, 7000, depth=8, colour=6)  # 196 MB of pixels, if they were there
        with pytest.raises(BadPicture, match="image_decode_memory") as caught:
            pool.decode(large)
        assert caught.value.limit == megabytes * 10**6
        assert psutil.Process(pool.decoders.process_ids[0]).memory_info().rss < megabytes * 10**6
        assert pool.decode(plain("JPEG")).width == 256

    async def test_too_many_bytes_are_refused_without_asking_a_decoder(self) -> None:
        decoders = Decoders(ImageLimits(max_bytes=10))
        with pytest.raises(TooLarge, match="image_too_many_bytes") as caught:
            await decoders.decode(bytes(11))
        assert (caught.value.value, caught.value.limit) == (11, 10)

    def test_a_picture_at_the_pixel_limit_is_read(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(ImageLimits(max_pixels=256 * 256, decode_seconds=20.0), processes=1)
        assert pool.decode(plain("JPEG")).width == 256
        with pytest.raises(BadPicture, match="image_too_many_pixels"):
            pool.decode(saved(photo(257, 256), "JPEG"))

    def test_sixty_scans_are_read_and_a_hundred_are_not(self, pool: Pool) -> None:
        assert pool.decode(scan_bomb(50)).width == 256
        with pytest.raises(BadPicture, match="image_too_many_scans") as caught:
            pool.decode(scan_bomb(100))
        assert caught.value.limit == 64

    def test_heic_can_be_switched_off(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(PATIENT, processes=1, heic=False)
        assert pool.decoders.notes == ["HEIC is off: switched off in the settings"]
        assert "HEIF" not in pool.decoders.formats
        with pytest.raises(UnsupportedMedia, match="heic_disabled"):
            pool.decode(plain("HEIF"))
        assert pool.decode(plain("AVIF")).width == 256


class TestConfinement:
    @linux_only
    def test_a_decoder_has_given_up_what_a_codec_never_needs(self, pool: Pool) -> None:
        proc = Path(f"/proc/{pool.decoders.process_ids[0]}")
        limits = {line[:26].strip(): line[26:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
        assert limits["Max file size"] == ["0", "0"]
        assert limits["Max core file size"] == ["0", "0"]
        assert limits["Max open files"] == ["16", "16"]
        assert limits["Max address space"] == ["1500000000", "1500000000"]
        assert "NoNewPrivs:\t1" in (proc / "status").read_text()
        assert pool.decoders.notes == []

    @linux_only
    def test_a_decoder_knows_nothing_of_the_fronts_environment(self, make_pool: Callable[..., Pool]) -> None:
        os.environ["PROOFSHEET_CANARY"] = "secret"
        try:
            pid = make_pool(PATIENT, processes=1).decoders.process_ids[0]
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        finally:
            del os.environ["PROOFSHEET_CANARY"]
        assert b"CANARY" not in environment
        assert b"LC_ALL=C.UTF-8" in environment

    @linux_only
    def test_reading_every_file_of_the_corpus_wrote_no_byte_to_a_disk(
        self, make_pool: Callable[..., Pool], tmp_path: Path
    ) -> None:
        """The kernel counts what a process sends towards a disk; pipes are not in it.

        The first round is not counted: it imports codecs, and their files' access times are written by the kernel.
        """
        pool = make_pool(PATIENT, processes=1)
        (pid,) = pool.decoders.process_ids
        before, tempfile.tempdir = tempfile.tempdir, str(tmp_path)
        try:
            pool.run(read_all(pool.decoders))
            imported = bytes_written(pid)
            pool.run(read_all(pool.decoders))
        finally:
            tempfile.tempdir = before
        assert bytes_written(pid) == imported
        assert all(target.startswith(("pipe:", "socket:")) or target == os.devnull for target in open_things(pid))
        assert list(tmp_path.iterdir()) == []

    def test_a_confined_process_cannot_write(self, tmp_path: Path) -> None:
        script = (
            "from service.decoders.decoder import confine\n"
            "from service.decoders.protocol import ImageLimits\n"
            "assert confine(ImageLimits()) == []\n"
            f"try: open({str(tmp_path / 'selfie')!r}, 'wb', buffering=0).write(b'x' * 9)\n"
            "except OSError as error: print(error.strerror)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
        assert done.stdout == "File too large\n"

    @linux_only
    def test_decoders_die_with_a_front_that_is_killed(self) -> None:
        script = (
            "import asyncio; from service.decoders.pool import Decoders, ImageLimits\n"
            "async def main():\n"
            "    decoders = Decoders(ImageLimits(decode_seconds=60, max_scans=10**6), processes=1)\n"
            "    await decoders.start(); print(*decoders.process_ids, flush=True); await asyncio.sleep(60)\n"
            "asyncio.run(main())"
        )
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as front:
            assert front.stdout is not None
            pid = int(front.stdout.readline())
            front.kill()
        deadline = time.monotonic() + 5
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_the_front_stays_light(self) -> None:
        script = (
            "import sys, service.decoders.pool, service.api.forms\n"
            "heavy = {'PIL', 'pillow_heif', 'numpy', 'torch'} & set(sys.modules); assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=30)

    def test_old_codecs_switch_heic_off_and_say_so(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert decoder.heic_problem() is None
        monkeypatch.setattr(decoder, "LIBDE265_FLOOR", (99, 0))
        assert str(decoder.heic_problem()).startswith("HEIC is off: libde265 1.")
        monkeypatch.setattr(decoder, "LIBHEIF_FLOOR", (99, 0, 1))
        assert str(decoder.heic_problem()).endswith(" is older than 99.0.1")

    @pytest.mark.parametrize(
        ("text", "version"), [("libde265 HEVC decoder, version 1.1.3", (1, 1, 3)), ("1.23.6", (1, 23, 6)), ("none", ())]
    )
    def test_versions_are_read_from_text(self, text: str, version: tuple[int, ...]) -> None:
        assert decoder.version_of(text) == version

    def test_what_a_system_lacks_is_noted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def lacking(*_: object) -> None:
            raise OSError

        monkeypatch.setattr(decoder, "control_process", lacking)
        monkeypatch.setattr(decoder, "set_limit", lacking)
        notes = decoder.confine(PATIENT)
        assert len(notes) == 7
        assert notes[0] == "decoders run without RLIMIT_AS: OSError"


class TestLeaks:
    @linux_only
    def test_eighty_pictures_leave_memory_and_pipes_as_they_were(self, make_pool: Callable[..., Pool]) -> None:
        pool = make_pool(PATIENT, processes=1)
        (pid,) = pool.decoders.process_ids
        pictures = [saved(photo(640, 640), kind) for kind in ("JPEG", "PNG", "WEBP")] + [plain("HEIF"), plain("AVIF")]

        def decode_all(times: int) -> tuple[int, int]:
            for data in pictures * times:
                pool.decode(data)
            gc.collect()  # errors of earlier tests hold their frames, and these their trays
            return psutil.Process(pid).memory_info().rss, len(list(Path("/proc/self/fd").iterdir()))

        before, pipes_before = decode_all(4)
        after, pipes_after = decode_all(16)
        assert after - before < 8 * 10**6
        assert pipes_after == pipes_before


async def read_all(decoders: Decoders) -> None:
    for file in FILES:
        await outcome_of(decoders, file.data)


def bytes_written(pid: int) -> int:
    """What a process has sent towards a disk since its start."""
    counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(counts["write_bytes"])


def open_things(pid: int) -> list[str]:
    return [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
