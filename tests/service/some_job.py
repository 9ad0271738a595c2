"""Jobs without a request around them."""

from service.access.caller import ANONYMOUS
from service.jobs.job import Job, Summary
from service.jobs.options import JobOptions
from service.jobs.origin import Origin
from service.jobs.outlook import Outlook
from service.jobs.photos import HeldPhotos
from service.jobs.places import Places
from service.jobs.tokens import CallerTokens


def some_summary(num_images=1, steps=4, cost=None):
    return Summary(
        model="fake",
        style=None,
        adapter="photomaker-v2",
        seeds=list(range(num_images)),
        width=256,
        height=256,
        steps=steps,
        format="jpeg",
        cost=num_images * steps if cost is None else cost,
    )


class Nobody:
    """Runs no job."""

    def position(self, job):
        return 1

    def seconds_to_end(self, job):
        return None

    def abort(self, job):
        pass


def some_job(caller=ANONYMOUS, *, options=None, deadline_seconds=30.0, **summary):
    """Accepted by nobody: `take` and `end` move it. Inside a running loop."""
    return Job(
        caller,
        some_summary(**summary),
        options or JobOptions(),
        runner=Nobody(),
        outlook=Outlook(1, None, None),
        deadline_seconds=deadline_seconds,
        photos=HeldPhotos([], Places(1_000_000)),
        tokens=CallerTokens(),
        origin=Origin(),
    )
