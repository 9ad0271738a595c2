"""The command line and the composition root: reads the settings, builds the parts, runs them.

proofsheet serve | generate SELFIE ... | fetch PROFILE | doctor | keys add|list|revoke
"""

import importlib.util
import json
import sys
from pathlib import Path
from socket import socket

import click
import msgspec
import uvloop

from models.weights.errors import WeightsError
from models.weights.starting import check_start
from models.wire.setup import Setup
from service.api.forms.portrait import PortraitForm
from service.app import create_app
from service.cli.doctor import DoctorError, examine, is_usable, report
from service.cli.fetch import fetch
from service.cli.generate import StartFailed, generate
from service.cli.keys import keys_command
from service.cli.options import fail, form_options, read_settings, setting_options
from service.decoders.pool import Decoders, ImageLimits
from service.decoders.process import DecoderDied
from service.errors import ServiceError
from service.logs import set_up_logging
from service.memory import forbid_core_dumps, keep_freed_pages
from service.metrics import Metrics, package_version
from service.secrets import Secrets, SecretsError, open_secrets
from service.server import listen, serve
from service.settings import Settings, SettingsError, refuse_open_network
from service.styles import BUILT_IN, Styles, StylesError, load_styles
from service.telemetry import TelemetryError, Tracer, open_tracer
from service.word_list import WordList, WordListError, load_word_list
from service.workers.process import launch_process
from service.workers.protocol import Launcher
from service.workers.supervised import SupervisedWorkers
from service.workers.supervisor import SupervisionPolicy

PHOTO = click.Path(exists=True, dir_okay=False, path_type=Path)
OPTION_HELPS = {
    "style": "A style from the catalogue.",
    "prompt": "A prompt of your own instead of a style.",
    "subject": "person, man, woman, ...",
    "n": "How many portraits.",
    "seed": "The first portrait's seed.",
    "size": "WIDTHxHEIGHT",
    "adapter": "photomaker, instantid, ...: of the bundle's.",
    "framing": "front, slight-left, slight-right, closer, wider or selfie (InstantID).",
    "lora": "A style LoRA of the bundle's.",
    "strength": "0 (any face) to 1.",
    "format": "jpeg, webp or png.",
}
FIELDS_OF_SERVICE = ("identity", "previews", "on_disconnect", "webhook")  # of no use without one
WORKER_SETTINGS = (
    "bundle",
    "manifest",
    "weights_dir",
    "face_analyzer",
    "faces_dir",
    "face_side",
    "accept_noncommercial",
    "devices",
    "threads",
)
NO_RUNTIME = (
    "onnxruntime is not installed: install proofsheet with its extra cpu or, for an NVIDIA GPU, gpu: "
    "pip install -c constraints.txt '.[cpu]'"
)


@click.group()
@click.version_option(package_version())
def main() -> None:
    """Proofsheet: one selfie in, new portraits out, with no training."""


@main.command(name="serve")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="Written with the address once the models are warm."
)
@setting_options(*Settings.names())
@click.pass_obj
def serve_command(launcher: Launcher | None, ready_file: Path | None, **flags: str | None) -> None:
    """Serve portraits over HTTP. Every option is a setting too; flags win over the environment."""
    settings = read_settings(flags)
    styles, word_list = read_styles(settings), read_word_list(settings)
    secrets, tracer = read_secrets(settings), read_tracer(settings)
    if launcher is None:
        refuse_hopeless_start(settings)
    set_up_logging(settings.log_level.upper())
    forbid_core_dumps()
    keep_freed_pages()
    try:
        bound = listen(settings)
    except OSError as error:
        fail(f"can't listen on {settings.host}:{settings.port}: {error.strerror}")
    parts = (settings, styles, word_list, secrets, tracer, launcher or launch_process)
    sys.exit(uvloop.run(serve_parts(*parts, bound, ready_file)))


@main.command(name="generate")
@click.argument("selfies", nargs=-1, required=True, type=PHOTO)
@click.option("-o", "--output", default=".", type=click.Path(file_okay=False, path_type=Path), help="Where files go.")
@click.option("--pose", type=PHOTO, help="A photo whose face says where the new one goes (InstantID).")
@form_options(PortraitForm, OPTION_HELPS, without=FIELDS_OF_SERVICE)
@setting_options(*WORKER_SETTINGS, "styles", "refused_words")
@click.pass_obj
def generate_command(
    launcher: Launcher | None, selfies: tuple[Path, ...], pose: Path | None, output: Path, **options: str | None
) -> None:
    """Make portraits from SELFIES of one person, without a server."""
    names = set(Settings.names())
    settings = read_settings({name: value for name, value in options.items() if name in names})
    fields = {name: value for name, value in options.items() if name not in names and value is not None}
    try:
        form = PortraitForm.read(fields, from_text=True)
        if launcher is None:
            refuse_hopeless_start(settings)
        output.mkdir(parents=True, exist_ok=True)
        workers = build_workers(settings, launcher or launch_process, Metrics())
        parts = (settings, workers, build_decoders(settings), read_styles(settings), read_word_list(settings))
        written = uvloop.run(generate(*parts, form=form, selfies=selfies, pose=pose, output=output))
    except ServiceError as error:
        fail(f"{error.code}: {error.message}")
    except (StartFailed, DecoderDied, OSError) as error:
        fail(str(error))
    for path in written:
        click.echo(path)


@main.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object in place of lines.")
@setting_options("bundle", "manifest", "weights_dir", "faces_dir", "face_side")
def doctor_command(as_json: bool, **flags: str | None) -> None:
    """Say what is installed, which weights are here, and what is missing. Status 1 if the bundle can't run."""
    settings = read_settings(flags)
    click.echo("looking ...", err=True)
    try:
        found = examine(settings)
    except DoctorError as error:
        fail(str(error))
    for line in [json.dumps(found)] if as_json else report(found):
        click.echo(line)
    sys.exit(0 if is_usable(found, settings.bundle) else 1)


@main.command(name="fetch")
@click.argument("profile")
@click.option("--dry-run", is_flag=True, help="Show every file, its size and its terms, and download nothing.")
@click.option("--offline", is_flag=True, help="Use no network: check what is here and say what is missing.")
@click.option("--from", "from_dir", metavar="DIR", help="Take the files from a folder instead of the network.")
@setting_options("manifest", "weights_dir")
def fetch_command(profile: str, dry_run: bool, offline: bool, from_dir: str | None, **flags: str | None) -> None:
    """Download the weights of PROFILE (commercial, commercial-ip, research), verify and lock them.

    A profile is a bundle: afterwards `proofsheet serve --bundle PROFILE` finds all that it needs. Run again, it does
    nothing; after an interruption it goes on; a damaged file is fetched anew. HF_ENDPOINT names a mirror of the hub.

    \b
    proofsheet fetch commercial --dry-run
    proofsheet fetch commercial --weights-dir /srv/weights
    proofsheet fetch commercial --weights-dir /srv/weights --from /media/stick
    """
    sys.exit(fetch(read_settings(flags), profile, dry_run=dry_run, offline=offline, from_dir=from_dir))


main.add_command(keys_command)


async def serve_parts(
    settings: Settings,
    styles: Styles,
    word_list: WordList,
    secrets: Secrets,
    tracer: Tracer,
    launcher: Launcher,
    bound: socket,
    ready_file: Path | None,
) -> int:
    """Build the service and run it; the exit status."""
    metrics = Metrics()
    workers = build_workers(settings, launcher, metrics)
    decoders = build_decoders(settings)
    app = create_app(settings, workers, decoders, styles, metrics, secrets, tracer, word_list=word_list)
    return await serve(app, settings, workers, bound, ready_file)


def build_workers(settings: Settings, launcher: Launcher, metrics: Metrics) -> SupervisedWorkers:
    """One worker process per device."""
    setup = msgspec.convert(settings, Setup, from_attributes=True)  # by name; the device is each worker's own
    setups = [msgspec.structs.replace(setup, device=device) for device in settings.devices]
    policy = SupervisionPolicy(heartbeat_seconds=settings.heartbeat_seconds, start_seconds=settings.start_seconds)
    return SupervisedWorkers(
        setups, launcher=launcher, policy=policy, on_figures=metrics.add_figures, on_restart=metrics.count_restart
    )


def build_decoders(settings: Settings) -> Decoders:
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    return Decoders(limits, processes=settings.decoders, heic=settings.heic)


def read_secrets(settings: Settings) -> Secrets:
    """The service's keys; fails for a service that would be open to a network by oversight."""
    try:
        refuse_open_network(settings)
        return open_secrets(settings)
    except (SettingsError, SecretsError) as error:
        fail(str(error))


def refuse_hopeless_start(settings: Settings) -> None:
    """Fails with one sentence for what a worker would find missing seconds later: onnxruntime, weights.

    Which of onnxruntime's builds is wanted only the operator knows, and they hide each other: so it is in the extras.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        fail(NO_RUNTIME)
    try:
        check_start(
            settings.bundle,
            manifest_path=None if settings.manifest is None else Path(settings.manifest),
            weights_dir=None if settings.weights_dir is None else Path(settings.weights_dir),
            faces=settings.face_analyzer is None and settings.faces_dir is None,
            accept_noncommercial=settings.accept_noncommercial,
        )
    except WeightsError as error:
        fail(str(error))


def read_tracer(settings: Settings) -> Tracer:
    try:
        return open_tracer(settings.traces)
    except TelemetryError as error:
        fail(str(error))


def read_styles(settings: Settings) -> Styles:
    try:
        path = Path(settings.styles) if settings.styles else BUILT_IN
        return load_styles(path, default=settings.default_style)
    except StylesError as error:
        fail(str(error))


def read_word_list(settings: Settings) -> WordList:
    try:
        return load_word_list(Path(settings.refused_words)) if settings.refused_words else load_word_list()
    except WordListError as error:
        fail(str(error))


if __name__ == "__main__":
    main()
