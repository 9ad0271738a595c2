"""The HTTP application: the routes over their parts, in one flat call. Builds nothing that it is not given."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from litestar import Litestar
from litestar.di import Provide
from litestar.middleware import DefineMiddleware
from litestar.types import ASGIApp

from service.access.guard import Guard
from service.access.quota import Quotas
from service.api.body.limits import UploadLimits
from service.api.codes import codes
from service.api.cors import Cors
from service.api.envelope import Envelope
from service.api.forwarded import Forwarded
from service.api.front import Front
from service.api.head import HeadAsGet
from service.api.openapi.plugin import openapi_config
from service.api.problems import EXCEPTION_HANDLERS
from service.api.surface import Surface
from service.api.surfaces import SURFACES
from service.decoders.pool import Decoders
from service.jobs.jobs import Jobs
from service.jobs.kept_proofs import KeptProofs
from service.jobs.tokens import Vault
from service.jobs.webhooks import Webhooks
from service.metrics import Metrics
from service.secrets import Secrets
from service.settings import Settings
from service.styles import Styles
from service.telemetry import IdsOnly, Tracer
from service.word_list import WordList, load_word_list
from service.workers.protocol import Workers

WEBHOOK_DRAIN_SECONDS = 10  # after the jobs have had their own time


def create_app(
    settings: Settings,
    workers: Workers,
    decoders: Decoders,
    styles: Styles,
    metrics_page: Metrics,
    secrets: Secrets | None = None,
    tracer: Tracer | None = None,
    surfaces: Sequence[Surface] = SURFACES,
    word_list: WordList | None = None,
) -> Litestar:
    """The application. Its lifespan starts and stops the workers and the decoders; it does not wait until warm.

    Without `secrets` everyone may do everything, and sealed tokens die with the application.
    Without a `tracer` there are trace ids and no spans. Without a `word_list` it is the built-in one.
    """
    tracer = tracer or IdsOnly()
    secrets = secrets or Secrets.of_this_process()
    jobs = Jobs(workers, metrics_page, settings)
    webhooks = Webhooks(
        secrets.webhook_secret, allow_loopback=settings.webhook_loopback, count=metrics_page.count_webhook
    )
    front = Front(
        settings=settings,
        styles=styles,
        word_list=word_list or load_word_list(),
        decoders=decoders,
        jobs=jobs,
        metrics=metrics_page,
        upload_limits=upload_limits(settings),
        sealer=secrets.sealer,
        vault=Vault(
            secrets.sealer,
            metrics_page,
            identity_seconds=settings.identity_seconds,
            proof_seconds=settings.proof_seconds,
        ),
        kept_proofs=KeptProofs(seconds=settings.result_seconds),
        quotas=Quotas(),
        webhooks=webhooks,
        tracer=tracer,
    )
    metrics_page.held_bytes.labels("proofs").set_function(lambda: front.kept_proofs.num_bytes)
    metrics_page.decoder_restarts.set_function(lambda: decoders.restarts)

    makers = {name: make for surface in surfaces for name, make in surface.parts.items()}
    parts = {name: make(front) for name, make in makers.items()}

    @contextlib.asynccontextmanager
    async def running(_app: Litestar) -> AsyncGenerator[None]:
        await workers.start()
        try:
            await decoders.start()
            yield
        finally:
            await jobs.stop()
            front.kept_proofs.clear()
            for part in parts.values():
                await part.close()
            await webhooks.stop(min(settings.drain_seconds, WEBHOOK_DRAIN_SECONDS))
            await workers.stop()
            await decoders.stop()

    app = Litestar(
        [route for surface in surfaces for route in surface.routes],
        dependencies={name: _provided(value) for name, value in {"front": front, **parts}.items()},
        middleware=[DefineMiddleware(Guard, keys=secrets.keys, quotas=front.quotas)],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[running],
        openapi_config=openapi_config(surfaces, settings),
        logging_config=None,  # ours is set up once, by the process; Litestar's would log nothing of a 500
        debug=False,  # a traceback page would show callers' values
    )
    metrics_page.start_at_zero((code for known in codes().values() for code in known), len(settings.devices))
    app.state.front = front
    app.state.surfaces = surfaces
    handler: ASGIApp = HeadAsGet(app.asgi_handler)
    if settings.cors_origins:
        handler = Cors(handler, settings.cors_origins)
    app.asgi_handler = Forwarded(Envelope(handler, metrics_page, tracer), settings.trusted_proxies)
    return app


def _provided(value: object) -> Provide:
    def give() -> Any:
        return value

    return Provide(give, sync_to_thread=False)


def upload_limits(settings: Settings) -> UploadLimits:
    """What a request may bring, from the settings."""
    return UploadLimits(
        max_images=settings.max_selfies,
        max_image_bytes=settings.max_image_bytes,
        max_body_bytes=settings.max_body_bytes,
        pace=settings.pace,
    )
