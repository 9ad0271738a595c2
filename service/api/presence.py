"""Whether the client is still there while we work for it.

Litestar runs a handler to its end when its client leaves, so the wait for `http.disconnect` is raced against the
work. Only after the body has been read: before that, `receive` gives the body.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from litestar.types import Receive

T = TypeVar("T")


class ClientLeft(Exception):
    """The client closed its connection; nobody will read an answer."""


async def while_present(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, which is cancelled when the client leaves. Raises ClientLeft, or what `work` raises."""

    async def leave() -> None:
        await disconnected(receive)
        stay.reschedule(0)

    stay = asyncio.timeout(None)  # the client's leaving ends it, not the clock
    try:
        async with stay:
            leaving = asyncio.create_task(leave())
            try:
                return await work
            finally:
                await settle(leaving)
    except TimeoutError:
        if stay.expired():
            raise ClientLeft from None
        raise


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def settle(*tasks: asyncio.Task[Any]) -> None:
    """Cancel what still runs and wait until its cleanup is through."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
