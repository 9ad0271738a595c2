"""Jobs without a request around them."""

from service.access.caller import ANONYMOUS
from service.jobs.job import Job, Summary
from service.jobs.terms import Terms


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


def some_job(caller=ANONYMOUS, *, terms=None, deadline_seconds=30.0, **summary):
    """Accepted by nobody: `take` and `end` move it. Inside a running loop."""
    return Job(caller, some_summary(**summary), terms or Terms(), deadline_seconds=deadline_seconds)
