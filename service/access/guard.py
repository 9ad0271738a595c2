"""The layer in front of every route: finds out who calls and puts them into the ASGI scope."""

from litestar.types import ASGIApp, Receive, Scope, Send

from service.access.caller import ANONYMOUS, SCOPE_KEY


class Guard:
    """Wraps an ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[SCOPE_KEY] = ANONYMOUS  # pyright: ignore[reportGeneralTypeIssues] - a key of our own in the scope
        await self._app(scope, receive, send)
