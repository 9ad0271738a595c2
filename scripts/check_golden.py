"""Hold this implementation against a folder of recorded tensors, case by case.

    python scripts/check_golden.py scripts/golden/records/photomaker
    python scripts/check_golden.py scripts/golden/records/instantid

Which adapter's records they are is told by the folder. Prints one line per case (name, largest difference, tolerance,
ok or MISS) and exits 1 on any miss. Differences are absolute for PhotoMaker's records, and shares of the tensor's
largest value for InstantID's.
"""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `python scripts/...` puts scripts/ first

from scripts.golden.instantid import InstantIDFolder
from scripts.golden.photomaker import PhotoMakerFolder


def open_records(folder: Path) -> PhotoMakerFolder | InstantIDFolder:
    """Raises click.UsageError if it is neither layout."""
    if (folder / "index.json").is_file():
        return PhotoMakerFolder(folder)
    if (folder / "ControlNetModel" / "config.json").is_file():
        return InstantIDFolder(folder)
    raise click.UsageError(f"{folder} has neither index.json (PhotoMaker's records) nor ControlNetModel/ (InstantID's)")


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    print(f"{'case':52} {'difference':>10} {'tolerance':>10}")
    missed = 0
    for outcome in open_records(folder).outcomes():
        print(outcome, flush=True)
        missed += not outcome.ok
    print(f"{missed} missed" if missed else "all ok")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
