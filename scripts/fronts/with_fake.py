"""`proofsheet` over a fake worker: first the fake's arguments, then `--`, then the command line.

python -m scripts.fronts.with_fake --step-seconds 0.02 -- serve --port 0
"""

import sys
from functools import partial

from service.__main__ import main
from service.entry import end_on_interrupt
from service.workers.process import launch_process
from service.workers.protocol import Launcher


def fake_process(*arguments: str) -> Launcher:
    """Launches scripts/fronts/fake_worker.py as a real worker process."""
    return partial(launch_process, command=(sys.executable, "-m", "scripts.fronts.fake_worker", *arguments))


if __name__ == "__main__":
    end_on_interrupt()
    divider = sys.argv.index("--")
    main(sys.argv[divider + 1 :], prog_name="proofsheet", obj=fake_process(*sys.argv[1:divider]))
