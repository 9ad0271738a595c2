"""Whether the client is still there while we work for it.

Litestar runs a handler to its end when its client leaves, so the wait for `http.disconnect` is raced against the
work. Only after the body has been read: before that, `receive` gives the body.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar.types import Receive

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection; nobody will read an answer."""


async def while_present(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientLeft, or what `work` raises."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(disconnected(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientLeft
    finally:
        await settle(working, leaving)


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def settle(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs and wait until its cleanup is through."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
