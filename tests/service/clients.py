"""What the tests of the surfaces share: a picture as JSON has it, and calls over ASGI."""

import asyncio
import base64

from tests.service.harness import SELFIE, build_service, client_of, until

PICTURE = "data:image/jpeg;base64," + base64.b64encode(SELFIE).decode()


async def calling(*calls, service=None):
    """The answers to these (method, path, options), one after the other, in one service."""

    async with client_of(service or build_service()) as client:
        return [await client.request(method, path, **options) for method, path, options in calls]


async def send_and_leave(sending, service):
    """Hang up as soon as the worker has the job; wait until it is told to drop it."""
    request = asyncio.ensure_future(sending)
    await until(lambda: service.fakes and service.fakes[0].orders)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    await until(lambda: service.cancelled)


async def one(method, path, service=None, **options):
    [answer] = await calling((method, path, options), service=service)
    return answer
