"""A worker in a thread of this process, behind the same interface: for tests and for debugging.

`models.worker.worker` is imported when the first thread starts, never before: a front that uses processes stays free of
torch. A thread can't be killed, so a supervisor over this launcher needs a generous silence limit.
"""

import asyncio
import importlib
import logging
import threading
from collections.abc import Callable
from typing import Protocol

from models.wire.messages import FromWorker, Shutdown, ToWorker
from models.wire.reports import Broken
from models.wire.setup import Setup

logger = logging.getLogger("proofsheet.worker")


class WorkerObject(Protocol):
    """What a worker looks like without a process around it; `run` blocks until Shutdown."""

    def receive(self, message: ToWorker) -> None: ...

    def run(self) -> None: ...


WorkerFactory = Callable[[Setup, Callable[[FromWorker], None]], WorkerObject]


def real_worker(setup: Setup, send: Callable[[FromWorker], None]) -> WorkerObject:
    return importlib.import_module("models.worker.worker").Worker(setup, send)


class ThreadLink:
    """One worker thread. Messages sent before the worker is built wait for it."""

    def __init__(self, setup: Setup, on_message: Callable[[FromWorker], None], factory: WorkerFactory) -> None:
        self.pid: int | None = None
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._on_message = on_message
        self._lock = threading.Lock()
        self._early: list[ToWorker] = []
        self._worker: WorkerObject | None = None
        thread = threading.Thread(target=self._run, args=(setup, factory), name="worker", daemon=True)
        thread.start()

    def send(self, message: ToWorker) -> None:
        with self._lock:
            if self._worker is None:
                self._early.append(message)
                return
        self._worker.receive(message)

    def terminate(self) -> None:
        self.send(Shutdown())

    def kill(self) -> None:
        self.send(Shutdown())

    def _run(self, setup: Setup, factory: WorkerFactory) -> None:
        reason = "the thread ended"
        try:
            worker = factory(setup, self._post)
            with self._lock:
                self._worker, early = worker, self._early
            for message in early:
                worker.receive(message)
            worker.run()
        except Exception as error:  # the thread's edge: its end is told to the supervisor, never lost
            logger.exception("the worker thread failed")
            reason = f"the thread failed: {type(error).__name__}"
            if self._worker is None:
                self._post(Broken(message=reason))
        self._call(self._close, reason)

    def _post(self, message: FromWorker) -> None:
        self._call(self._on_message, message)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _close(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)


async def launch_thread(
    setup: Setup, on_message: Callable[[FromWorker], None], *, factory: WorkerFactory = real_worker
) -> ThreadLink:
    """Start a worker thread; its failures show as Broken and in `closed`."""
    return ThreadLink(setup, on_message, factory)
