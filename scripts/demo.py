"""One selfie in, portraits out: starts the service, asks twice, writes out/, prints where the time went.

    python scripts/demo.py [--selfie photo.jpg] [--style corporate] [--images 4] [--out out] [--url http://...]

Talks to the service over HTTP only, as any caller would. Without --selfie it uses scikit-image's photograph of the
astronaut Eileen Collins (NASA, public domain) and leaves it in out/selfie.jpg to try other requests with. With --url
it asks a service that already runs.
"""

import argparse
import io
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import msgspec
import pillow_heif
from PIL import Image, ImageDraw, ImageFont, ImageOps
from skimage import data

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from scripts.fronts.served import NotReady, served

ANSWER_SECONDS = 150.0
CONTENT_TYPES = {".png": "image/png", ".webp": "image/webp", ".heic": "image/heic", ".heif": "image/heif"}
ASTRONAUT = "scikit-image's astronaut (NASA, public domain)"
COLUMNS = ("face", "queue", "steps", "decode", "total")

PAPER, INK, FAINT = (246, 245, 242), (64, 62, 58), (136, 132, 124)
MARGIN, GAP, CAPTION = 20, 8, 18
PER_ROW = 4


class DemoError(Exception):
    """Something that the person at the keyboard can act on; the text is what is printed."""


class Selfie(msgspec.Struct, frozen=True):
    name: str
    content_type: str
    data: bytes


class AnswerImage(msgspec.Struct, frozen=True):
    index: int
    b64: bytes  # msgspec decodes the base64


class AnswerTimings(msgspec.Struct, frozen=True):
    """Milliseconds in the service; the answer names more stages than the table shows."""

    face: float
    queue: float
    steps: float
    decode: float
    total: float


class Answer(msgspec.Struct, frozen=True):
    model: str
    adapter: str
    style: str
    images: list[AnswerImage]
    timings_ms: AnswerTimings


class Problem(msgspec.Struct, frozen=True):
    """The part of an application/problem+json body that a person wants to read."""

    detail: str
    code: str = "error"
    value: float | str | None = None
    limit: float | str | None = None

    def __str__(self) -> str:
        measured = f" ({self.value}, the limit is {self.limit})" if self.limit is not None else ""
        return f"{self.detail}{measured} [{self.code}]"


def main() -> int:
    options = parse_options()
    signal.signal(signal.SIGTERM, stop_politely)
    try:
        selfie = read_selfie(options.selfie)
        if options.url:
            first, warm = ask_twice(options.url, selfie, options)
        else:
            with running_service() as url:
                first, warm = ask_twice(url, selfie, options)
        print_table(first, warm)
        write_pictures(options.out, selfie, first, warm)
    except (DemoError, NotReady) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One selfie in, portraits out.")
    parser.add_argument("--selfie", type=Path, help="a photo of one face; without it, a NASA portrait is used")
    parser.add_argument("--style", default="corporate")
    parser.add_argument("--images", type=int, default=4, metavar="N")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same portraits")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--url", help="ask this running service instead of starting one")
    return parser.parse_args()


def stop_politely(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def read_selfie(path: Path | None) -> Selfie:
    if path is None:
        encoded = io.BytesIO()
        Image.fromarray(data.astronaut()).save(encoded, "JPEG", quality=95)
        return Selfie(ASTRONAUT, "image/jpeg", encoded.getvalue())
    try:
        return Selfie(path.name, CONTENT_TYPES.get(path.suffix.lower(), "image/jpeg"), path.read_bytes())
    except OSError as error:
        raise DemoError(f"cannot read the selfie {path}: {error.strerror}") from error


# ---- the service


@contextmanager
def running_service() -> Iterator[str]:
    """The address of a warm service, which is stopped when this is left."""
    say("starting...")
    began = time.monotonic()
    with served() as front:
        say(f" ready in {time.monotonic() - began:.1f} s\n")
        yield front.url


# ---- asking


def ask_twice(url: str, selfie: Selfie, options: argparse.Namespace) -> tuple[Answer, Answer]:
    """The same request twice: the second shows what the service keeps warm and remembers."""
    say(f"selfie: {selfie.name}\n")
    answers: list[Answer] = []
    for _ in range(2):
        say("asking..." if not answers else " and again...")
        answers.append(ask(url, selfie, options))
        say(f" {answers[-1].timings_ms.total / 1000:.2f} s")
    say("\n")
    return answers[0], answers[1]


def ask(url: str, selfie: Selfie, options: argparse.Namespace) -> Answer:
    query = urllib.parse.urlencode({"style": options.style, "n": options.images, "seed": options.seed})
    request = urllib.request.Request(
        f"{url}/v1/portraits?{query}",
        data=selfie.data,
        headers={"Content-Type": selfie.content_type, "Accept": "application/json"},
    )
    try:
        with open_url(request, timeout=ANSWER_SECONDS) as response:
            return msgspec.json.decode(response.read(), type=Answer)
    except urllib.error.HTTPError as error:
        raise DemoError(explain(error)) from error
    except OSError as error:
        raise DemoError(f"no answer from {url}: {error}") from error
    except msgspec.MsgspecError as error:
        raise DemoError(f"an answer from {url} that this script cannot read: {error}") from error


def explain(error: urllib.error.HTTPError) -> str:
    try:
        problem = msgspec.json.decode(error.read(), type=Problem)
    except (OSError, msgspec.MsgspecError):
        return f"the service answered {error.code} {error.reason}"
    return f"the service answered {error.code}: {problem}"


def open_url(request: urllib.request.Request | str, timeout: float):
    """Straight to the service: a proxy of the environment has no business with an address of this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout)


# ---- what is shown and written


def print_table(first: Answer, warm: Answer) -> None:
    print("\n" + " " * 6 + "".join(f"{column:>10}" for column in COLUMNS))
    for name, answer in (("first", first), ("warm", warm)):
        print(f"{name:<6}" + "".join(f"{getattr(answer.timings_ms, column):>7.0f} ms" for column in COLUMNS))
    print()


def write_pictures(out: Path, selfie: Selfie, first: Answer, warm: Answer) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("portrait-*.jpg"):
        old.unlink()
    if selfie.name == ASTRONAUT:  # nobody's own photo is copied anywhere
        (out / "selfie.jpg").write_bytes(selfie.data)
    portraits = sorted(warm.images, key=lambda portrait: portrait.index)
    for portrait in portraits:
        (out / f"portrait-{portrait.index + 1}.jpg").write_bytes(portrait.b64)
    print(f"{out}/portrait-*.jpg  {len(portraits)} of them")
    pillow_heif.register_heif_opener()
    try:
        photo = Image.open(io.BytesIO(selfie.data))
        ImageOps.exif_transpose(photo, in_place=True)
    except (OSError, ValueError, Image.DecompressionBombError):
        print(f"no contact sheet: {selfie.name} does not open here, though the service read it")
        return
    caption = (
        f"{warm.style}, {warm.model} with {warm.adapter}: "
        f"{first.timings_ms.total / 1000:.2f} s, then {warm.timings_ms.total / 1000:.2f} s warm"
    )
    sheet = contact_sheet(photo, [Image.open(io.BytesIO(portrait.b64)) for portrait in portraits], caption)
    sheet.save(out / "contact.jpg", quality=92)
    print(f"{out}/contact.jpg     the selfie beside them")


def contact_sheet(selfie: Image.Image, portraits: list[Image.Image], caption: str) -> Image.Image:
    """The selfie at the left, then the portraits at the same height, four to a row, on paper with a caption."""
    height = min(max(portraits[0].height, 320), 640)
    shape = min(max(selfie.width / selfie.height, 0.6), 1.25)  # a panorama must not dwarf the portraits
    selfie = ImageOps.fit(selfie.convert("RGB"), (round(height * shape), height), Image.Resampling.LANCZOS)
    cells = [ImageOps.fit(p, (p.width * height // p.height, height), Image.Resampling.LANCZOS) for p in portraits]
    rows = [cells[start : start + PER_ROW] for start in range(0, len(cells), PER_ROW)]
    left = MARGIN + selfie.width + 2 * GAP
    font = ImageFont.load_default(CAPTION)
    widest = max(sum(cell.width + GAP for cell in row) - GAP for row in rows)
    width = left + max(widest, round(font.getlength(caption))) + MARGIN
    bottom = MARGIN + len(rows) * (height + GAP) - GAP
    sheet = Image.new("RGB", (width, bottom + MARGIN + CAPTION + MARGIN // 2), PAPER)
    sheet.paste(selfie, (MARGIN, MARGIN))
    for line, row in enumerate(rows):
        x = left
        for cell in row:
            sheet.paste(cell, (x, MARGIN + line * (height + GAP)))
            x += cell.width + GAP
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN + height + MARGIN // 2), "selfie", FAINT, font)
    draw.text((left, bottom + MARGIN // 2), caption, INK, font)
    return sheet


def say(text: str) -> None:
    print(text, end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
