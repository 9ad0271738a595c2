"""Bring the files of a profile here, check them, lock what was not pinned, convert pickles: `proofsheet fetch`.

A process of its own (`python -m models.weights.fetch`), because the front imports no torch. Serving fetches nothing.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import click
from huggingface_hub import constants

from models.weights.checkpoints import convert
from models.weights.downloader import Downloader, free_bytes, unpack
from models.weights.errors import AlteredFile, MissingFile, WeightsError
from models.weights.integrity import verify_one
from models.weights.listing import listing
from models.weights.lock import Lock
from models.weights.manifest import DEFAULT_MANIFEST, Manifest, WeightFile, read_manifest
from models.wire.bundle_info import FileInfo

SHOWN = 6


@click.command(help=__doc__)
@click.argument("profile")
@click.option("--manifest", "manifest_path", type=click.Path(path_type=Path), default=DEFAULT_MANIFEST)
@click.option("--weights-dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--from", "from_dir", type=click.Path(path_type=Path, file_okay=False))
@click.option("--offline", is_flag=True)
@click.option("--dry-run", is_flag=True)
def main(
    profile: str, manifest_path: Path, weights_dir: Path | None, from_dir: Path | None, offline: bool, dry_run: bool
) -> None:
    try:
        manifest = read_manifest(manifest_path)
        if dry_run:
            click.echo("\n".join(listing(manifest.profile(profile), weights_dir)))
        elif manifest.bundle(profile).embedded:
            click.echo(f"{profile} comes with the installation: nothing to fetch")
        elif weights_dir is None:
            raise WeightsError("say where the files go: --weights-dir DIR or PROOFSHEET_WEIGHTS_DIR")
        else:
            offline = offline or constants.is_offline_mode()
            fetch(manifest, profile, weights_dir, from_dir=from_dir, offline=offline)
    except WeightsError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("\ninterrupted; what has come is kept: run the same command again to go on", err=True)
        os._exit(130)  # downloads run on threads that nothing else ends


def fetch(
    manifest: Manifest,
    profile: str,
    root: Path,
    *,
    from_dir: Path | None = None,
    offline: bool = False,
    endpoint: str | None = None,
    say: Callable[[str], None] = click.echo,
    room: Callable[[Path], int] = free_bytes,
) -> None:
    """Have every file of the profile here and verified; nothing happens where that is so. Raises WeightsError."""
    files = manifest.profile(profile)
    _make_folder(root)
    with Lock(root) as lock:
        here = {file.path: _look(file, root, lock, manifest, say) for file in files}
        wanted = [file for file in files if here[file.path] is None]
        if from_dir is not None:
            _copy(wanted, from_dir, root, lock)
        elif wanted and offline:
            raise WeightsError(_offline(profile, wanted, len(files), root))
        elif wanted:
            Downloader(root, lock, endpoint=endpoint, room=room).bring(wanted)
        here |= {file.path: verify_one(file, root, lock, manifest.files) for file in wanted}
        for file in files:
            info = here[file.path]
            assert info is not None
            if file.format == "pickle" and convert(root, file.path, info.sha256, lock):
                say(f"converted {file.path} to safetensors")
    say(f"{profile}: {len(wanted)} files fetched, {len(files) - len(wanted)} were here; all {len(files)} are verified")


def _make_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(
            f"{root} can't be made: {error.strerror}; choose another folder with --weights-dir"
        ) from None


def _look(file: WeightFile, root: Path, lock: Lock, manifest: Manifest, say: Callable[[str], None]) -> FileInfo | None:
    """None if it has to be fetched; an altered file is told of."""
    try:
        return verify_one(file, root, lock, manifest.files)
    except MissingFile:
        return None
    except AlteredFile as error:
        say(f"{str(error).rpartition(';')[0]}; fetching it again")
        return None


def _copy(files: Sequence[WeightFile], source: Path, root: Path, lock: Lock) -> None:
    """From a folder of the same layout, or with the archives as they are published. Checked before it is copied."""
    if not source.is_dir():
        raise WeightsError(f"{source} is not a folder: --from names one that holds fetched files")
    theirs = Lock(source)
    absent: list[str] = []
    for file in files:
        archives = [] if file.member is None or file.remote is None else _archives(file, file.remote.path, source)
        if (source / file.path).is_file():
            info = verify_one(file, source, theirs)
            lock.files |= {file.path: info.sha256} if file.sha256 is None else {}
            _copy_one(source / file.path, root / file.path)
        elif archives:
            unpack(archives[0], [file], root)
        else:
            absent.append(file.path)
    if absent:
        raise WeightsError(
            f"{source} lacks {_some(absent)}. It must hold each file at its path in the weights folder, as "
            "`proofsheet fetch` leaves them on a machine with a connection; what was there is copied"
        )


def _archives(file: WeightFile, name: str, source: Path) -> list[Path]:
    candidates = (source / name, (source / file.path).with_name(name), source / "faces" / name)
    return [path for path in candidates if path.is_file()]


def _copy_one(source: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WeightsError(f"{source} can't be copied to {target}: {error.strerror}") from None


def _offline(profile: str, wanted: Sequence[WeightFile], count: int, root: Path) -> str:
    return (
        f"offline (--offline or HF_HUB_OFFLINE), and {len(wanted)} of {count} files are not in {root}: "
        f"{_some([file.path for file in wanted])}. Fetch on a machine with a connection, bring its folder here, and "
        f"run `proofsheet fetch {profile} --from DIR`"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


if __name__ == "__main__":
    main()
