"""A job's photos in memory: as they came until its turn, then as the pixels that a worker has."""

from collections.abc import Sequence

from service.jobs.places import Places
from service.memory import wipe


class HeldPhotos:
    """Owns the photos of one job, and what they take of the bytes that all jobs may hold, until `release`."""

    def __init__(self, files: Sequence[bytearray], held_bytes: Places) -> None:
        self.files = files  # as they came; none any more once a worker has their pixels
        self.num_bytes = sum(map(len, files))
        self._held_bytes = held_bytes
        held_bytes.take(self.num_bytes)

    def become_pixels(self, num_bytes: int) -> None:
        """Hold so many bytes of pixels in place of the photos as they came, even if that is over the bound."""
        self.release()
        self.num_bytes = num_bytes
        self._held_bytes.take(num_bytes)

    def release(self) -> None:
        """Hold nothing any more. Releasing again does nothing."""
        wipe(self.files)
        self.files = ()
        self._held_bytes.give_back(self.num_bytes)
        self.num_bytes = 0
