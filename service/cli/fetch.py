"""`proofsheet fetch`: hands over to `python -m models.weights.fetch`, which needs torch to convert pickles."""

import os
import subprocess
import sys

from service.settings import Settings
from service.workers.process import worker_environment

COMMAND = (sys.executable, "-P", "-m", "models.weights.fetch")
OFFLINE = "HF_HUB_OFFLINE"


def fetch(settings: Settings, profile: str, *, dry_run: bool, offline: bool, from_dir: str | None) -> int:
    """The exit status. It speaks to the terminal itself: tables, progress bars, and what went wrong."""
    paths = {"manifest": settings.manifest, "weights-dir": settings.weights_dir, "from": from_dir}
    given = [f"--{name}={path}" for name, path in paths.items() if path is not None]
    flags = [flag for flag, is_set in (("--dry-run", dry_run), ("--offline", offline)) if is_set]
    environment = worker_environment()
    environment[OFFLINE] = os.environ.get(OFFLINE, "0")  # a worker is always offline; this is where we are not
    return subprocess.run([*COMMAND, profile, *given, *flags], env=environment, check=False).returncode
