"""The decoder process: `python -m service.decoders.decoder TRAY_SOCKET`.

Frames come on stdin, answers go to stdout, trays come by descriptor TRAY_SOCKET.

It is the only place where a caller's bytes meet a codec, so it gives up, once its codecs are loaded, what a codec
never needs: memory beyond its share, files (none can be written, few can be opened), core dumps, new privileges,
outliving the front. A timer of its own processor time ends it when a picture takes too much, the front when it takes
too long, and another is started. Where the system lacks one of
these (anything but Linux), it says so in its first answer and works without.
"""

import ctypes
import importlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

import cv2
import msgspec
import pillow_heif as untyped_pillow_heif
from PIL import AvifImagePlugin, Image, JpegImagePlugin

from models.wire.tray import receive_tray
from service.decoders.pixels import read_pixels
from service.decoders.protocol import HEADER, Answer, Decoded, DecoderReady, ImageLimits, decode_setup, encode

# The first releases without this year's heap overflows: CVE-2026-32740, CVE-2026-32741; CVE-2026-54240.
LIBHEIF_FLOOR = (1, 22, 0)
LIBDE265_FLOOR = (1, 1, 1)
MAX_OPEN_FILES = 16
# TIFF is how Pillow reads EXIF; it is not among the formats that are opened.
PLUGINS = (
    "AvifImagePlugin",
    "JpegImagePlugin",
    "PngImagePlugin",
    "TiffImagePlugin",
    "WebPImagePlugin",
)

pillow_heif: Any = untyped_pillow_heif  # its functions take bare **kwargs and return bare dicts

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h


def main() -> int:
    ignore_signals()
    frames, answers, tray_socket = sys.stdin.buffer, sys.stdout.buffer, socket.socket(fileno=int(sys.argv[1]))
    first = read_frame(frames)
    if first is None:
        return 0
    setup = decode_setup(first)
    formats, notes = load_codecs(setup.heic)
    notes += confine(setup.limits)
    send(answers, DecoderReady(formats=formats, notes=notes))
    silence_stderr()
    while (data := read_frame(frames)) is not None:
        tray = receive_tray(tray_socket)
        allow_processor_time(setup.limits.decode_seconds)
        answer = read_pixels(data, setup.limits, formats, allow_processor_time)
        allow_processor_time(0)
        del data
        if tray is not None and isinstance(answer, Decoded):
            tray.fill(answer.rgb)
            answer = msgspec.structs.replace(answer, rgb=b"")
        del tray
        send(answers, answer)
        del answer  # nothing of a picture stays until the next one comes
    return 0


def allow_processor_time(seconds: float) -> None:
    """From now on, before the kernel ends this process by SIGPROF; 0: as much as it takes.

    Unlike RLIMIT_CPU, which counts whole seconds from the process's start, the timer is set anew for every picture.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)


def ignore_signals() -> None:
    """Ctrl-C and a service manager's SIGTERM reach the whole group; the front drains first, then ends its children."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def load_codecs(heic: bool) -> tuple[list[str], list[str]]:
    """Our five formats, while files can still be opened; of Pillow's other forty most are never loaded at all."""
    for plugin in PLUGINS:
        importlib.import_module(f"PIL.{plugin}")
    Image.preinit()
    # Not Pillow's own opener, which reads a JPEG's index of further pictures and fails on a damaged one.
    Image.register_open("JPEG", JpegImagePlugin.JpegImageFile, lambda start: start.startswith(b"\xff\xd8\xff"))
    Image.MAX_IMAGE_PIXELS = None  # the limits are ours, and are checked before load()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    cv2.setNumThreads(1)
    formats, notes = ["JPEG", "PNG", "WEBP", "AVIF"], list[str]()
    if not AvifImagePlugin.SUPPORTED:
        formats.remove("AVIF")
        notes.append("AVIF is off: this Pillow was built without it")
    problem = heic_problem() if heic else "HEIC is off: switched off in the settings"
    if problem:
        return formats, [*notes, problem]
    # An embedded thumbnail may show another face than the picture; depth and alpha planes are only more to parse.
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)
    return [*formats, "HEIF"], notes


def heic_problem() -> str | None:
    """Why the HEIC codec must not be used here, if so."""
    info = pillow_heif.libheif_info()
    parts = {"libheif": (info["libheif"], LIBHEIF_FLOOR), "libde265": (libde265_text(info), LIBDE265_FLOOR)}
    for name, (text, floor) in parts.items():
        if version_of(text) < floor:
            return f"HEIC is off: {name} {dotted(version_of(text))} is older than {dotted(floor)}"
    return None


def libde265_text(info: dict[str, Any]) -> str:
    return info.get("decoders", {}).get("libde265", "")


def version_of(text: str) -> tuple[int, ...]:
    """`libde265 HEVC decoder, version 1.1.3` -> (1, 1, 3); nothing that looks like a version -> ()."""
    found = re.search(r"\d+(\.\d+)+", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "of unknown version"


def confine(limits: ImageLimits) -> list[str]:
    """Give up what a codec never needs. Returns what this system could not do."""
    notes: list[str] = []
    steps: dict[str, Callable[[], None]] = {
        "RLIMIT_AS": lambda: set_limit("RLIMIT_AS", limits.decoder_memory_bytes),
        "RLIMIT_FSIZE": lambda: set_limit("RLIMIT_FSIZE", 0),
        "RLIMIT_NOFILE": lambda: set_limit("RLIMIT_NOFILE", MAX_OPEN_FILES),
        "RLIMIT_CORE": lambda: set_limit("RLIMIT_CORE", 0),
        "PR_SET_NO_NEW_PRIVS": lambda: control_process(_PR_SET_NO_NEW_PRIVS, 1),
        "PR_SET_DUMPABLE": lambda: control_process(_PR_SET_DUMPABLE, 0),
        "PR_SET_PDEATHSIG": lambda: control_process(_PR_SET_PDEATHSIG, signal.SIGKILL),
    }
    for name, step in steps.items():
        try:
            step()
        except (ImportError, AttributeError, OSError, ValueError) as error:
            notes.append(f"decoders run without {name}: {type(error).__name__}")
    return notes


def set_limit(name: str, value: int) -> None:
    """Soft and hard, so that it can't be raised again."""
    import resource  # not on Windows

    resource.setrlimit(getattr(resource, name), (value, value))


def control_process(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        raise OSError("prctl is Linux's")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def silence_stderr() -> None:
    """Until here a failure to start is the operator's to read; from here on codecs would quote callers' files."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def read_frame(stream: BinaryIO) -> bytes | None:
    """One frame, or None when the front has gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    body = stream.read(length)
    return body if len(body) == length else None


def send(stream: BinaryIO, answer: Answer) -> None:
    body = encode(answer)
    stream.write(HEADER.pack(len(body)))
    stream.write(body)
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
