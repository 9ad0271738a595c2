"""Files from their publishers, several at a time."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from models.weights.archive import extract
from models.weights.download import Located, download, locate, partial_of
from models.weights.errors import WeightsError
from models.weights.listing import about_bytes, human
from models.weights.lock import Lock
from models.weights.manifest import Remote, WeightFile

PARALLEL = 4
Job = tuple[Located, list[WeightFile]]  # one download, and the files that come with it


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class Downloader:
    """Lives for one fetch; `endpoint` is another hub than HF_ENDPOINT's. Only the calling thread touches the lock."""

    def __init__(
        self, root: Path, lock: Lock, *, endpoint: str | None = None, room: Callable[[Path], int] = free_bytes
    ) -> None:
        self._root = root
        self._lock = lock
        self._endpoint = endpoint
        self._room = room

    def bring(self, files: Sequence[WeightFile]) -> None:
        """Raises WeightsError with a sentence for each download that failed; the others are here all the same."""
        by_remote: dict[Remote, list[WeightFile]] = {}
        for file in files:
            if file.remote is None:
                raise WeightsError(f"{file.path} is not published where fetch could get it; get it from {file.origin}")
            by_remote.setdefault(file.remote, []).append(file)
        jobs = [(self._locate(remote), inside) for remote, inside in by_remote.items()]
        self._check_room(jobs)
        problems = [error for error in _all_of(self._bring_one, jobs) if error is not None]
        if problems:
            raise WeightsError("\n".join(map(str, problems)))

    def _locate(self, remote: Remote) -> Located:
        """All files of a repository come from one commit: the pinned one, or the first that was seen."""
        located = locate(remote, self._lock.revisions.get(remote.repo), endpoint=self._endpoint)
        if located.commit and remote.revision is None:
            self._lock.revisions.setdefault(remote.repo, located.commit)
        return located

    def _check_room(self, jobs: Sequence[Job]) -> None:
        """Downloads, what archives unpack to, and a second copy of pickles; less what has come already."""
        needed = sum(_bytes_of(located, files) - self._received(located, files) for located, files in jobs)
        room = self._room(self._root)
        if needed > room:
            raise WeightsError(
                f"{self._root} has {human(room)} free and {human(needed)} are needed: make room or choose another "
                "folder with --weights-dir. Nothing was downloaded"
            )

    def _received(self, located: Located, files: list[WeightFile]) -> int:
        partial = partial_of(self._target(located, files), located)
        return partial.stat().st_size if partial.exists() else 0

    def _target(self, located: Located, files: list[WeightFile]) -> Path:
        first = self._root / files[0].path
        return first if files[0].member is None else first.with_name(Path(located.remote.path).name)

    def _bring_one(self, job: Job) -> None:
        located, files = job
        target = self._target(located, files)
        if files[0].member is None:
            download(located, target, files[0].sha256 or self._lock.files.get(files[0].path))
            return
        download(located, target)
        unpack(target, files, self._root)
        target.unlink()


def unpack(archive: Path, files: Sequence[WeightFile], root: Path) -> None:
    for file in files:
        assert file.member is not None
        extract(archive, file.member, root / file.path)


def _bytes_of(located: Located, files: list[WeightFile]) -> int:
    unpacked = sum(about_bytes(file) for file in files if file.member is not None)
    converted = sum(about_bytes(file) for file in files if file.format == "pickle")
    return (located.size or unpacked or about_bytes(files[0])) + unpacked + converted


def _all_of(work: Callable[[Job], None], jobs: Sequence[Job]) -> list[WeightsError | None]:
    """What each job failed with. Interrupted, it returns at once and leaves running downloads to the process's end."""
    pool = ThreadPoolExecutor(PARALLEL)
    try:
        futures: list[Future[None]] = [pool.submit(work, job) for job in jobs]
        wait(futures)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [_failure(future) for future in futures]


def _failure(future: Future[None]) -> WeightsError | None:
    error = future.exception()
    if error is not None and not isinstance(error, WeightsError):
        raise error
    return error
