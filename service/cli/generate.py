"""`proofsheet generate`: one job from files to files, with the service's own parts and no HTTP."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import click

from models.wire.events import Done, Portrait, Started, Stepped
from models.wire.order import Order, Photos
from service.api.forms.portrait import PortraitForm
from service.api.orders import CheckedForm
from service.decoders.pool import Decoders
from service.jobs.failures import to_error
from service.settings import Settings
from service.styles import Styles
from service.word_list import WordList
from service.workers.protocol import Workers

PATIENT_SECONDS = 3600.0  # nobody waits on a socket here, and a large model on a CPU takes minutes


class StartFailed(Exception):
    """No worker could be started. The text is for the person at the terminal."""


async def generate(
    settings: Settings,
    workers: Workers,
    decoders: Decoders,
    styles: Styles,
    word_list: WordList,
    *,
    form: PortraitForm,
    selfies: Sequence[Path],
    output: Path,
    pose: Path | None = None,
) -> list[Path]:
    """The written files. Raises ServiceError, StartFailed or OSError."""
    async with running(workers, decoders):
        pictures = [await decoders.decode(path.read_bytes()) for path in selfies]
        posed = None if pose is None else await decoders.decode(pose.read_bytes())
        click.echo("loading the models ...", err=True)
        await warm(workers, settings.start_seconds)
        ready = workers.describe()[0]
        checked = CheckedForm(
            form, styles, word_list, ready, max_images=settings.max_images, has_pose=posed is not None
        )
        photos = Photos(selfies=tuple(pictures), pose=posed)
        order = checked.order("generate", photos, form.terms.deadline or PATIENT_SECONDS)
        return await run(workers, order, output)


@contextlib.asynccontextmanager
async def running(workers: Workers, decoders: Decoders) -> AsyncGenerator[None]:
    await workers.start()
    try:
        await decoders.start()
        yield
    finally:
        await workers.stop()
        await decoders.stop()


async def warm(workers: Workers, seconds: float) -> None:
    """Wait for the first worker. Raises StartFailed when none will come."""
    ready = asyncio.create_task(workers.wait_ready())
    hopeless = asyncio.create_task(workers.gave_up())
    try:
        await asyncio.wait({ready, hopeless}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if hopeless.done():
            raise StartFailed(hopeless.result())
        if not ready.done():
            raise StartFailed(f"the models were not warm within {seconds:g} s")
    finally:
        ready.cancel()
        hopeless.cancel()


async def run(workers: Workers, order: Order, output: Path) -> list[Path]:
    """One job with a progress bar over its steps; each portrait is written when it comes."""
    written: list[Path] = []
    async with contextlib.aclosing(workers.submit(order)) as events:
        with click.progressbar(length=1, label="portraits", file=sys.stderr) as bar:
            async for event in events:
                match event:
                    case Started():
                        bar.length = event.sampling.steps * len(order.seeds)
                    case Stepped():
                        bar.update(1)
                    case Portrait():
                        written.append(write(event, output))
                    case Done():
                        bar.finish()
                    case _:
                        raise to_error(event, retry_after_seconds=1)
    return written


def write(portrait: Portrait, output: Path) -> Path:
    extension = "jpg" if portrait.format == "jpeg" else portrait.format
    path = output / f"portrait-{portrait.index + 1}-seed-{portrait.seed}.{extension}"
    path.write_bytes(portrait.data)
    return path
