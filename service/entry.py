"""The console script's entry: a Ctrl-C while the program still starts ends it with one line and status 130.

This module imports nothing that takes time. The server takes the signal over once it can stop in order.
"""

import os
import signal
from types import FrameType

INTERRUPTED = 130  # 128 and the signal's number, as shells say it


def main() -> None:
    end_on_interrupt()
    from service.__main__ import main as command

    command()


def end_on_interrupt() -> None:
    """From now on Ctrl-C ends this process at once. Children see their sockets close, and end too."""
    signal.signal(signal.SIGINT, interrupt)


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Not by an exception: it would show as a traceback of whatever was being imported."""
    os.write(2, b"proofsheet: interrupted\n")
    os._exit(INTERRUPTED)
