"""The demo as a newcomer meets it: what it draws, and what it says when the service says no."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from scripts.demo import CAPTION, GAP, MARGIN, PAPER, contact_sheet
from tests.service.harness import ServiceHarness, build_service, listening

DEMO = Path(__file__).parents[2] / "scripts" / "demo.py"
RED, BLUE = (200, 30, 30), (30, 30, 200)


def sheet_of(num_portraits: int, selfie: tuple[int, int] = (400, 400)) -> Image.Image:
    portraits = [Image.new("RGB", (320, 400), BLUE) for _ in range(num_portraits)]
    return contact_sheet(Image.new("RGB", selfie, RED), portraits, "corporate")


def test_the_selfie_stands_left_of_the_portraits_at_their_height() -> None:
    sheet = sheet_of(2)
    assert sheet.size == (
        MARGIN + 400 + 2 * GAP + 320 + GAP + 320 + MARGIN,
        MARGIN + 400 + MARGIN + CAPTION + MARGIN // 2,
    )
    assert sheet.getpixel((MARGIN, MARGIN)) == RED
    assert sheet.getpixel((MARGIN + 399, MARGIN + 399)) == RED
    assert sheet.getpixel((MARGIN + 400 + GAP, MARGIN)) == PAPER
    assert sheet.getpixel((MARGIN + 400 + 2 * GAP, MARGIN)) == BLUE
    assert sheet.getpixel((sheet.width - MARGIN - 1, MARGIN + 399)) == BLUE


def test_more_than_four_portraits_start_a_new_row() -> None:
    assert sheet_of(5).width == sheet_of(4).width
    assert sheet_of(5).height == sheet_of(4).height + 400 + GAP


def test_a_panorama_is_cropped_and_a_tall_photo_too() -> None:
    assert sheet_of(1, selfie=(4000, 400)).width < sheet_of(1).width + 400
    assert sheet_of(1, selfie=(100, 4000)).height == sheet_of(1).height


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--style", "corporat"], "unknown_style", id="no such style"),
        pytest.param(["--images", "7"], "the limit is 4", id="too many portraits"),
        pytest.param(["--selfie", "nowhere.jpg"], "nowhere.jpg", id="no such file"),
    ],
)
async def test_a_refusal_is_said_in_one_sentence(arguments: list[str], said: str, tmp_path: Path) -> None:
    status, errors = await run_demo(build_service(max_images=4), *arguments, "--out", str(tmp_path))
    assert status == 1
    assert said in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


async def run_demo(service: ServiceHarness, *arguments: str) -> tuple[int | None, str]:
    """Exit status and stderr of the demo, asking this service."""
    async with listening(service) as port:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(DEMO),
            "--url",
            f"http://127.0.0.1:{port}",
            *arguments,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"HTTP_PROXY": "http://127.0.0.1:9"},  # which must not be used
        )
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, errors.decode()
