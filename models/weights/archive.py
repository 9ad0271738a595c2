"""Files out of a zip, by name: where they land is our decision and never the archive's."""

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from models.weights.errors import WeightsError

MAX_BYTES = 4 << 30  # of one file, unpacked
_BLOCK = 1 << 20


def extract(archive: Path, member: str, target: Path) -> None:
    """Write the one file called `member`, however deep it is nested, to `target`. Raises WeightsError.

    insightface's antelopev2.zip holds a folder of its own name, so unpacking it into a folder of that name nests
    twice. Paths in the archive are compared and not followed: one that leads elsewhere has no effect.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entry = _find(opened, archive, member)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(entry) as source, target.open("wb") as sink:
                while block := source.read(_BLOCK):
                    sink.write(block)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{archive} is not a zip file that can be read, or half of one: {error}") from error
    except OSError as error:
        raise WeightsError(f"{member} of {archive} can't be written to {target}: {error.strerror}") from None


def _find(opened: zipfile.ZipFile, archive: Path, member: str) -> zipfile.ZipInfo:
    entries = [info for info in opened.infolist() if PurePosixPath(info.filename).name == member and not info.is_dir()]
    if len(entries) != 1:
        raise WeightsError(f"{archive} holds {len(entries)} files called {member}; one is needed")
    if entries[0].file_size > MAX_BYTES:
        raise WeightsError(f"{archive}: {member} would unpack to {entries[0].file_size} bytes, more than {MAX_BYTES}")
    return entries[0]
