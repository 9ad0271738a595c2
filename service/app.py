"""The HTTP application: the routes over their parts, in one flat call. Builds nothing that it is not given."""

import contextlib
from collections.abc import AsyncGenerator

from litestar import Litestar
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from service.access.guard import Guard
from service.access.quota import Quotas
from service.api.body.limits import UploadLimits
from service.api.catalogue import get_model, list_models, list_styles
from service.api.cors import cors_config
from service.api.docs import DOCS_ROUTES
from service.api.envelope import Envelope
from service.api.finals import create_final
from service.api.front import Front
from service.api.health import health, livez, metrics, readyz
from service.api.identities import create_identity
from service.api.jobs import cancel_job, follow_job, get_job
from service.api.openai.images import OPENAI_ROUTES
from service.api.openapi import openapi_config
from service.api.portraits import create_portraits
from service.api.problems import EXCEPTION_HANDLERS
from service.api.replicate.cog import COG_ROUTES
from service.api.replicate.files import Files
from service.api.replicate.hooks import Hooks
from service.api.replicate.predictions import Predictions
from service.api.replicate.routes import REPLICATE_ROUTES
from service.decoders.pool import Decoders
from service.jobs.jobs import Jobs
from service.jobs.tokens import Vault
from service.jobs.webhooks import Webhooks
from service.metrics import Metrics
from service.secrets import Secrets
from service.settings import Settings
from service.styles import Styles
from service.telemetry import IdsOnly, Tracer
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
) -> Litestar:
    """The application. Its lifespan starts and stops the workers and the decoders; it does not wait until warm.

    Without `secrets` everyone may do everything, and sealed tokens die with the application.
    Without a `tracer` there are trace ids and no spans.
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
        quotas=Quotas(),
        webhooks=webhooks,
        tracer=tracer,
        predictions=Predictions(jobs),
        files=Files(),
        hooks=Hooks(webhooks),
    )
    metrics_page.decoder_restarts.set_function(lambda: decoders.restarts)

    def give_front() -> Front:
        return front

    @contextlib.asynccontextmanager
    async def parts(_app: Litestar) -> AsyncGenerator[None]:
        await workers.start()
        try:
            await decoders.start()
            yield
        finally:
            await jobs.stop()
            await front.hooks.stop()
            await webhooks.stop(min(settings.drain_seconds, WEBHOOK_DRAIN_SECONDS))
            front.files.clear()
            await workers.stop()
            await decoders.stop()

    app = Litestar(
        [
            *[create_portraits, create_identity, create_final, get_job, follow_job, cancel_job],
            *OPENAI_ROUTES,
            *REPLICATE_ROUTES,
            *COG_ROUTES,
            *DOCS_ROUTES,
            *[list_styles, list_models, get_model, livez, readyz, health, metrics],
        ],
        dependencies={"front": Provide(give_front, sync_to_thread=False)},
        middleware=[DefineMiddleware(Guard, keys=secrets.keys, quotas=front.quotas)],
        cors_config=cors_config(settings),
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[parts],
        openapi_config=openapi_config(settings.cog_model),
        logging_config=None,  # ours is set up once, by the process; Litestar's would log nothing of a 500
        debug=False,  # a traceback page would show callers' values
    )
    app.state.front = front
    app.asgi_handler = Envelope(app.asgi_handler, metrics_page, tracer)
    return app


def upload_limits(settings: Settings) -> UploadLimits:
    """What a request may bring, from the settings."""
    return UploadLimits(
        max_images=settings.max_selfies,
        max_image_bytes=settings.max_image_bytes,
        max_body_bytes=settings.max_body_bytes,
        read_seconds=settings.body_seconds,
    )
