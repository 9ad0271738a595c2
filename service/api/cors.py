"""Which pages of other origins may read our answers: those in the list, exactly, and without cookies."""

from litestar.config.cors import CORSConfig

from service.settings import Settings

READ_HEADERS = [  # that a page may send
    "accept",
    "authorization",
    "cancel-after",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "prefer",
    "traceparent",
    "tracestate",
    "x-api-key",
    "x-request-id",
]
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


def cors_config(settings: Settings) -> CORSConfig | None:
    """None where no origin is listed: then no answer carries a CORS field."""
    if not settings.cors_origins:
        return None
    return CORSConfig(
        allow_origins=list(settings.cors_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=READ_HEADERS,
        expose_headers=SHOWN_HEADERS,
        max_age=3600,
    )
