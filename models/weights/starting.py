"""What stops a start before anything is loaded: a wrong manifest or bundle, a licence, a file that is not there.

It looks at names and sizes alone and takes no time; the worker, which reads every byte, looks again.
"""

from pathlib import Path

from models.weights.errors import MissingFile, WeightsError
from models.weights.integrity import remedy
from models.weights.manifest import (
    DEFAULT_MANIFEST,
    folder_of,
    missing_files,
    read_manifest,
    refuse_noncommercial,
    root_of,
)


def check_start(
    name: str,
    *,
    manifest_path: Path | None = None,
    weights_dir: Path | None = None,
    faces: bool = True,
    accept_noncommercial: bool = False,
) -> None:
    """Raises WeightsError with a sentence for the operator. With `faces` the bundle's own face models count too."""
    manifest = read_manifest(manifest_path or DEFAULT_MANIFEST)
    spec = manifest.bundle(name)
    files = manifest.files_of(spec, faces=faces)
    refuse_noncommercial(name, files, accept=accept_noncommercial)
    try:
        root = root_of(spec, weights_dir)
    except WeightsError as error:
        raise WeightsError(f"bundle {name!r}: {error}; `proofsheet fetch {name} --weights-dir DIR` fills one") from None
    missing = missing_files(files, root)
    if missing:
        file = missing[0]
        more = f", and {len(missing) - 1} more of the bundle's {len(files)} files are" if len(missing) > 1 else " is"
        path = folder_of(file, root) / file.path
        raise MissingFile(f"bundle {name!r}: {path}{more} missing; {remedy(file, name)}")
