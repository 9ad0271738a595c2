"""`proofsheet` over `tests.fakes`: first the fake's arguments, then `--`, then the command line.

python -m tests.service.front_with_fake --step-seconds 0.02 -- serve --port 0
"""

import sys

from service.__main__ import main
from tests.service.harness import fake_process

if __name__ == "__main__":
    divider = sys.argv.index("--")
    main(sys.argv[divider + 1 :], prog_name="proofsheet", obj=fake_process(*sys.argv[1:divider]))
