"""Callers' bytes -> pixels, in decoder processes that may die without harm.

Imports no Pillow: what a codec costs in memory and in risk stays in the children (service/decoders/decoder.py).
"""

import asyncio
import logging
from typing import NoReturn

from models.wire.picture import Picture
from service.decoders.process import DecoderDied, DecoderProcess
from service.decoders.protocol import ImageLimits, Refused
from service.errors import NoCapacity

__all__ = ["Decoders", "ImageLimits"]

WAIT_SECONDS = 5.0  # for a free decoder; at 0.1-1 s a picture, longer means overload
MAX_WAITING = 64  # pictures held in memory for their turn: at 12 MB each, the front's largest hoard
RESPAWN_PAUSES_SECONDS = (0.0, 0.1, 0.5, 2.0, 5.0)  # the last repeats

_log = logging.getLogger(__name__)


class Decoders:
    """A pool of decoder processes: bytes -> Picture under memory and time limits. Asyncio; one owner, one loop.

    A picture that takes too long or takes its decoder down costs its own request only: the decoder is killed and
    replaced in the background. `restarts` counts the replaced; `notes` says what this machine does without.
    """

    def __init__(
        self,
        limits: ImageLimits,
        processes: int = 2,
        heic: bool = True,
        *,
        wait_seconds: float = WAIT_SECONDS,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.limits = limits
        self.restarts = 0
        self.notes: list[str] = []
        self.formats: list[str] = []
        self._num_processes = processes
        self._heic = heic
        self._wait_seconds = wait_seconds
        self._max_waiting = max_waiting
        self._num_waiting = 0
        self._started = False
        self._children: set[DecoderProcess] = set()
        self._idle: asyncio.LifoQueue[DecoderProcess] = asyncio.LifoQueue()
        self._replacing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Every child is up and has answered, or this raises DecoderDied (or its OSError) and leaves none behind."""
        self._started = True
        try:
            spawns = (self._spawn() for _ in range(self._num_processes))
            problems = [problem for problem in await asyncio.gather(*spawns, return_exceptions=True) if problem]
            if problems:
                raise problems[0]
        except BaseException:
            await self.stop()
            raise
        for note in self.notes:
            _log.warning("%s", note)

    async def stop(self) -> None:
        """Kill every child, mid-picture or not, and wait for its end. Those who wait get NoCapacity in their time."""
        self._started = False
        for task in self._replacing:
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(child.end() for child in self._children))
        self._children.clear()
        self._idle = asyncio.LifoQueue()

    @property
    def process_ids(self) -> list[int]:
        return [child.pid for child in self._children]

    async def decode(self, data: bytes | bytearray | memoryview, wait_seconds: float | None = None) -> Picture:
        """Raises BadPicture, UnsupportedMedia, TooLarge, or NoCapacity when all decoders stay busy too long.

        Who brings `wait_seconds` was accepted before: it waits so long, however many others do. `data` must not change
        until this returns.
        """
        view = memoryview(data)
        check_length(view.nbytes, self.limits.max_bytes)
        child = await self._borrow(wait_seconds)
        try:
            async with asyncio.timeout(self.limits.decode_wall_seconds):
                answer = await child.decode(view)
        except TimeoutError:
            self._replace(child)
            self._refuse_busy()
        except DecoderDied as death:
            self._replace(child)
            if not self._started:
                self._refuse_busy()
            refuse_deadly(death, self.limits)
        except BaseException:
            self._replace(child)  # cancelled in the middle of a frame: this child can't be understood any more
            raise
        self._idle.put_nowait(child)
        if isinstance(answer, Refused):
            raise answer.as_error()
        return answer

    async def _borrow(self, wait_seconds: float | None) -> DecoderProcess:
        """An idle child, or the next that becomes idle."""
        if not self._started:
            self._refuse_busy()
        if self._num_waiting == 0 and (child := self._take_idle()) is not None:
            return child
        if wait_seconds is None and self._num_waiting >= self._max_waiting:
            self._refuse_busy()
        self._num_waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds if wait_seconds is None else wait_seconds):
                while True:
                    child = await self._idle.get()
                    if child.is_alive:
                        return child
                    self._replace(child)
        except TimeoutError:
            self._refuse_busy()
        finally:
            self._num_waiting -= 1

    def _take_idle(self) -> DecoderProcess | None:
        """One that is alive: one that died in its sleep is nobody's fault."""
        while not self._idle.empty():
            child = self._idle.get_nowait()
            if child.is_alive:
                return child
            self._replace(child)
        return None

    async def _spawn(self) -> None:
        child = await DecoderProcess.spawn(self.limits, self._heic)
        if not self._started:
            await child.end()
            return
        self._children.add(child)
        self.notes = child.ready.notes
        self.formats = child.ready.formats
        self._idle.put_nowait(child)

    def _replace(self, child: DecoderProcess) -> None:
        child.kill()
        if not self._started:
            return  # stop() sees to the end of every child
        self.restarts += 1
        task = asyncio.create_task(self._respawn(child))
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _respawn(self, dead: DecoderProcess) -> None:
        """Try until it works: without decoders every upload gets NoCapacity, which the caller can try again."""
        await dead.end()
        self._children.discard(dead)
        attempt = 0
        while True:
            await asyncio.sleep(RESPAWN_PAUSES_SECONDS[min(attempt, len(RESPAWN_PAUSES_SECONDS) - 1)])
            try:
                return await self._spawn()
            except (DecoderDied, OSError) as error:
                attempt += 1
                _log.error("a decoder could not be started (attempt %d): %s", attempt, error)

    def _refuse_busy(self) -> NoReturn:
        code = "decoders_busy" if self._started else "decoders_stopped"
        message = f"All picture decoders are {code.removeprefix('decoders_')}: try again in a second."
        raise NoCapacity(code, message, retry_after_seconds=1) from None


def check_length(num_bytes: int, max_bytes: int) -> None:
    if num_bytes == 0:
        raise Refused(code="image_empty", message="The picture is empty: no bytes arrived.").as_error()
    if num_bytes > max_bytes:
        message = f"The picture has {num_bytes} bytes: at most {max_bytes} are read."
        raise Refused(code="image_too_many_bytes", message=message, value=num_bytes, limit=max_bytes).as_error()


def refuse_deadly(death: DecoderDied, limits: ImageLimits) -> NoReturn:
    """A child that was killed from outside was too big for the machine; one that fell met a file it couldn't bear."""
    if death.was_slow:
        message = (
            f"The picture took more processor time to read than one of its size may ({limits.decode_seconds:g} s, or "
            f"{limits.decode_seconds_a_megapixel:g} s a megapixel): save it again as a plain JPEG, or smaller."
        )
        raise Refused(code="image_decode_timeout", message=message, limit=limits.decode_seconds).as_error() from death
    if death.was_killed:
        message = "The picture needs more memory than a decoder may use: scale it down and send it again."
        raise Refused(code="image_decode_memory", message=message).as_error() from death
    message = "The picture is damaged in a way that ends its decoder: save it again in a photo app and send that."
    raise Refused(code="image_undecodable", message=message).as_error() from death
