"""One file from the network to disk: resumed where a connection was cut, and never under its own name until whole.

Both the hub and plain URLs go through huggingface_hub's HTTP client, with its proxies, tokens and progress bars. Its
own `hf_hub_download` keeps nothing of a download that was cut: for files of five gigabytes that is not good enough.
"""

import errno
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from models.weights.errors import WeightsError
from models.weights.integrity import sha256_of
from models.weights.manifest import Remote

ATTEMPTS = 3  # that bring nothing; huggingface_hub's client makes some more by itself
PAUSE_SECONDS = 1.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Located:
    """A remote file as it is now: where, which commit, and what its publisher says of its bytes."""

    remote: Remote
    url: str
    commit: str | None
    size: int | None
    sha256: str | None
    tag: str  # differs when the bytes do: an unfinished download is continued under the same tag only

    @property
    def headers(self) -> dict[str, str]:
        """A hub token goes to the hub alone."""
        return build_hf_headers(library_name="proofsheet", token=None if self.remote.source == "hub" else False)


def locate(remote: Remote, revision: str | None = None, *, endpoint: str | None = None) -> Located:
    """Ask the hub; a plain URL is taken at the manifest's word. Raises WeightsError if the hub has other bytes.

    `endpoint` is another hub than HF_ENDPOINT's.
    """
    if remote.source == "url":
        tag = (remote.sha256 or "unknown")[:12]
        return Located(remote, f"{remote.repo}/{remote.path}", None, remote.size, remote.sha256, tag)
    url = hf_hub_url(remote.repo, remote.path, revision=revision or remote.revision, endpoint=endpoint)
    with _explained(remote):
        found = get_hf_file_metadata(url)
    etag = found.etag or ""
    published = etag if _SHA256.fullmatch(etag) else None
    for what, ours, theirs in (("size", remote.size, found.size), ("sha256", remote.sha256, published)):
        if ours is not None and theirs is not None and ours != theirs:
            raise WeightsError(
                f"{remote} is not what the manifest describes: its {what} is {theirs}, expected {ours}. Nothing was "
                "downloaded; its publisher may have replaced it, so read its page before you change the manifest"
            )
    size, sha256 = found.size or remote.size, remote.sha256 or published
    return Located(remote, url, found.commit_hash, size, sha256, etag[:12] or "unknown")


def download(located: Located, target: Path, expected_sha256: str | None = None) -> str:
    """The sha256 of what now lies at `target`. Raises WeightsError; what has come is kept, unless it is wrong."""
    expected = expected_sha256 or located.sha256
    partial = partial_of(target, located)
    with _explained(located.remote):
        target.parent.mkdir(parents=True, exist_ok=True)
    resumed = partial.exists()
    _receive(located, partial)
    digest = sha256_of(partial)
    if expected not in (None, digest) and resumed:  # the two halves may be of two files
        partial.unlink()
        _receive(located, partial)
        digest = sha256_of(partial)
    if expected not in (None, digest):
        partial.unlink()
        raise WeightsError(
            f"{located.remote} arrived with sha256 {digest}, expected {expected}. It was deleted; fetch again, and if "
            "it happens twice, its publisher or something between you and them has changed the file"
        )
    partial.replace(target)
    for stale in target.parent.glob(f"{target.name}.*.partial"):  # of bytes that its publisher has replaced
        stale.unlink()
    return digest


def partial_of(target: Path, located: Located) -> Path:
    """Where a download is until it is whole."""
    return target.with_name(f"{target.name}.{located.tag}.partial")


def _receive(located: Located, partial: Path) -> None:
    """All bytes into `partial`, in as many attempts as it takes while any bring something."""
    attempts = 0
    while True:
        have = _size_of(partial)
        if located.size is not None and have > located.size:
            partial.unlink()
            have = 0
        try:
            with _explained(located.remote), partial.open("ab") as stream:
                http_get(
                    located.url,
                    stream,
                    resume_size=have,
                    headers=located.headers,
                    expected_size=located.size,
                    displayed_filename=partial.name.partition(".partial")[0].rpartition(".")[0],
                )
                return
        except _Cut as cut:
            came = _size_of(partial)
            attempts = attempts + 1 if came <= have else 0
            if attempts >= ATTEMPTS:
                whole = f" of {located.size}" if located.size else ""
                raise WeightsError(
                    f"{located.remote}: the connection was cut after {came}{whole} bytes ({cut}). They are kept: run "
                    "the same command again to go on from there"
                ) from None
            time.sleep(PAUSE_SECONDS)


class _Cut(Exception):
    """The connection ended early; another may go on."""


@contextmanager
def _explained(remote: Remote) -> Iterator[None]:
    """Turn what the client raises into sentences that say what to do."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        host = constants.ENDPOINT if remote.source == "hub" else remote.repo
        raise WeightsError(
            f"can't reach {host} ({error}). Check the connection and HTTPS_PROXY, name a mirror in HF_ENDPOINT, or "
            "bring the files from elsewhere with --from DIR"
        ) from None
    except httpx2.TransportError as error:
        raise _Cut(str(error) or type(error).__name__) from None
    except GatedRepoError:
        raise WeightsError(
            f"{remote} is given only to accounts that accepted its terms: do so on its page, then set HF_TOKEN"
        ) from None
    except (EntryNotFoundError, RevisionNotFoundError, RepositoryNotFoundError):
        raise WeightsError(
            f"{remote} is not there, or only for those who are logged in (HF_TOKEN): its publisher may have moved it"
        ) from None
    except HfHubHTTPError as error:
        raise WeightsError(f"{remote}: the server answered {error.response.status_code}; try again later") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise WeightsError(f"the disk is full while {remote} arrived: make room and run it again") from None
        if error.errno is not None:
            raise WeightsError(f"{remote} can't be written: {error}") from None
        raise _Cut(str(error).splitlines()[0]) from None  # huggingface_hub's own check of the size


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
