"""HEAD wherever GET is: the answer of GET, without its body (RFC 9110, section 9.3.2)."""

from typing import Any, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

KEY = "proofsheet.is_head"


class HeadAsGet:
    """Wraps an ASGI application that knows no HEAD; keeps nothing between requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        inner = cast(dict[str, Any], scope) | {"method": "GET", KEY: True}  # the server reads the method of its own

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {"type": "http.response.body", "body": b"", "more_body": message.get("more_body", False)}
            await send(message)

        try:
            await self._app(cast(Scope, inner), receive, send_head)
        finally:
            cast(dict[str, Any], scope).update(inner | {"method": "HEAD"})  # what is noted of the request is read there


def is_head(scope: Scope) -> bool:
    """Whether nobody will see a body, which need not be made then."""
    return bool(cast(dict[str, Any], scope).get(KEY))
