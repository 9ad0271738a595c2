"""What the handlers work with. Built once by `create_app`, handed to every handler, changed by none."""

import dataclasses

from service.access.quota import Quotas
from service.api.body.limits import UploadLimits
from service.decoders.pool import Decoders
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.jobs.kept_proofs import KeptProofs
from service.jobs.sealing import Sealer
from service.jobs.tokens import Vault
from service.jobs.webhooks import Webhooks
from service.metrics import Metrics
from service.settings import Settings
from service.styles import Styles
from service.telemetry import Tracer
from service.word_list import WordList


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The parts behind every surface."""

    settings: Settings
    styles: Styles
    word_list: WordList
    decoders: Decoders
    jobs: Jobs
    metrics: Metrics
    upload_limits: UploadLimits
    sealer: Sealer
    vault: Vault
    kept_proofs: KeptProofs
    quotas: Quotas
    webhooks: Webhooks
    tracer: Tracer

    def delete(self, job: Job) -> None:
        """As `Jobs.delete`, and what is kept of the job elsewhere."""
        self.jobs.delete(job)
        self.kept_proofs.forget(job.id)
