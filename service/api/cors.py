"""CORS: which pages of other origins may read our answers: those in the list, exactly, and without cookies.

A wrapper of our own, since a package's client adds headers by a prefix (`x-stainless-*`) and Litestar knows whole names
alone; it also repeats its list of request headers on every answer, which is half a kilobyte that nobody reads there.
"""

from collections.abc import Sequence

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from service.api.record import record_of

METHODS = "GET, HEAD, POST, PUT, DELETE"
MAX_AGE_SECONDS = 3600
MAX_ASKED = 1024  # characters of a preflight's list of headers; the answer repeats it
READ_PREFIX = "x-stainless-"  # the openai package's: language, runtime, retry count, ...
READ_HEADERS = frozenset(  # that a page may send
    {
        "accept",
        "accept-language",
        "authorization",
        "baggage",
        "cache-control",
        "cancel-after",
        "content-language",
        "content-type",
        "idempotency-key",
        "last-event-id",
        "openai-beta",
        "openai-organization",
        "openai-project",
        "pragma",
        "prefer",
        "traceparent",
        "tracestate",
        "user-agent",
        "x-api-key",
        "x-request-id",
        "x-requested-with",
    }
)
SHOWN_HEADERS = [  # that a page may read: all of ours that say something to it
    "Idempotency-Replayed",
    "Location",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Server-Timing",
    "WWW-Authenticate",
    "traceresponse",
    "X-Job-Id",
    "X-Proof",
    "X-Request-Id",
    "X-Seed",
    "X-Should-Retry",
    "X-Warnings",
]
Fields = list[tuple[bytes, bytes]]


class Cors:
    """Wraps an ASGI application: answers preflights, and lets the pages of `origins` read the other answers."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.encode() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        fields: Fields = scope["headers"]
        sent: dict[bytes, bytes] = {
            name: value for name, value in fields if name.startswith((b"origin", b"access-control-"))
        }
        origin: bytes | None = sent.get(b"origin")
        if origin is not None and scope["method"] == "OPTIONS" and b"access-control-request-method" in sent:
            return await self._answer_preflight(sent, origin, send)

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                noted = record_of(scope).headers
                noted["Vary"] = ", ".join([*filter(None, [noted.get("Vary")]), "Origin"])
                message["headers"] = [*message.get("headers", []), *self._readable_by(origin)]
            await send(message)

        return await self._app(scope, receive, send_readable)

    def _readable_by(self, origin: bytes | None) -> Fields:
        if origin is None or origin not in self._origins:
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", ", ".join(SHOWN_HEADERS).encode()),
        ]

    async def _answer_preflight(self, sent: dict[bytes, bytes], origin: bytes, send: Send) -> None:
        """204 with what may be sent, or 400 that names what may not."""
        method = sent[b"access-control-request-method"].decode("latin-1").strip()
        asked = sent.get(b"access-control-request-headers", b"").decode("latin-1")
        names = [name for part in asked.split(",") if (name := part.strip().lower())]
        wrong = [
            what
            for what, is_wrong in {
                "Origin": origin not in self._origins,
                "method": method not in METHODS.split(", "),
                "headers": len(asked) > MAX_ASKED or not all(map(_may_be_sent, names)),
            }.items()
            if is_wrong
        ]
        if wrong:
            fields: Fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"vary", b"Origin")]
            body = f"Disallowed CORS {', '.join(wrong)}".encode()
        else:
            body = b""
            fields = [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-methods", METHODS.encode()),
                (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
                (b"vary", b"Origin, Access-Control-Request-Headers"),
            ]
            fields += [(b"access-control-allow-headers", ", ".join(names).encode())] if names else []
        start = {"type": "http.response.start", "status": 400 if wrong else 204, "headers": fields}
        await send(start)  # pyright: ignore[reportArgumentType] - ASGI's optional keys
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _may_be_sent(name: str) -> bool:
    return name in READ_HEADERS or (name.startswith(READ_PREFIX) and name.replace("-", "").isalnum() and name.isascii())
