"""Every setting of the front, in one place; the only module that reads the environment.

A setting `max_jobs` is `PROOFSHEET_MAX_JOBS` in the environment and `--max-jobs` on the command line; the flag wins.
A key that does not exist and a value of the wrong kind are errors that name both: a typo never becomes silence.
"""

import difflib
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast, get_type_hints

import msgspec
from msgspec import Meta, Struct

from service.arrival import Pace
from service.wanted import wanted

PREFIX = "PROOFSHEET_"
CogModel = Literal["tencentarc/photomaker", "zsxkib/instant-id", "proofsheet/portraits"]
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class SettingsError(Exception):
    """A setting is wrong. The text is for the operator: key, value and what was wanted."""


class Settings(Struct, frozen=True, kw_only=True):
    """The front's configuration, read once at start. Lists are written with commas."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on; 0 picks a free one and prints it.")] = (
        8000
    )
    bundle: Annotated[str, Meta(description="Which models to keep warm; `proofsheet doctor` lists them.")] = "tiny"
    manifest: Annotated[str | None, Meta(description="A manifest.toml to use instead of ours.")] = None
    weights_dir: Annotated[str | None, Meta(description="Folder with downloaded weight files.")] = None
    face_analyzer: Annotated[
        str | None,
        Meta(description="bundled, yunet or insightface:<pack>, or several with commas; unset, the bundle's own."),
    ] = None
    faces_dir: Annotated[
        str | None, Meta(description="Folder with the face analyzer's ONNX files; unset, faces/ in the weights folder.")
    ] = None
    face_side: Annotated[
        Annotated[int, Meta(ge=128, le=640, multiple_of=32)] | None,
        Meta(
            description="Pixels at which a downloaded detector looks for faces first, a multiple of 32; unset, 640. "
            "320 takes a CPU a quarter of the time, misses bystanders, and places eyes and mouth less exactly.",
        ),
    ] = None
    accept_noncommercial: Annotated[
        bool, Meta(description="Allow weight files whose licence forbids commercial use.")
    ] = False
    devices: Annotated[
        tuple[str, ...], Meta(min_length=1, description="One worker process per entry: auto, cpu, cuda:0, cuda:1, ...")
    ] = ("auto",)
    max_rows: Annotated[int, Meta(ge=1, le=256, description="Images in one worker's running batch.")] = 8
    graphs: Annotated[
        bool, Meta(description="On CUDA, record the networks' calls at start and play them; off to bisect a fault.")
    ] = True
    compile: Annotated[
        Literal["off", "blocks", "full"],
        Meta(
            description="torch.compile: off, blocks (the repeated ones, and the decoder) or full, which takes minutes."
        ),
    ] = "off"
    fp8: Annotated[
        bool, Meta(description="Large matrix products in 8 bits, on Hopper and newer; not with style LoRAs.")
    ] = False
    compile_cache: Annotated[
        str | None, Meta(description="Folder, this user's own, that keeps compiled code for the next start.")
    ] = None
    threads: Annotated[int | None, Meta(description="CPU threads per worker; unset lets torch choose.")] = None
    styles: Annotated[str | None, Meta(description="A TOML file that replaces the built-in styles.")] = None
    refused_words: Annotated[
        str | None, Meta(description="A TOML file that replaces the built-in list of words that no prompt may have.")
    ] = None
    cog_model: Annotated[
        CogModel, Meta(description="Whose inputs POST /predictions takes, as that model's own container would.")
    ] = "tencentarc/photomaker"
    openai_models: Annotated[
        bool, Meta(description="Take OpenAI's model names (gpt-image-*, dall-e-*) for the bundle; off refuses them.")
    ] = True
    default_style: Annotated[str, Meta(description="Used when a request names neither style nor prompt.")] = "corporate"
    max_jobs: Annotated[int, Meta(ge=1, le=10_000, description="Jobs accepted at once; more get a 503.")] = 64
    max_job_bytes: Annotated[int, Meta(ge=1, description="Memory for accepted jobs' photos, as they came.")] = (
        1_000_000_000
    )
    max_uploads: Annotated[int, Meta(ge=1, le=10_000, description="Bodies being received at once.")] = 16
    result_seconds: Annotated[
        float,
        Meta(
            ge=0,
            description="How long results that are fetched later stay in memory, and answers for retries; 0: none.",
        ),
    ] = 600.0
    max_result_bytes: Annotated[int, Meta(ge=1, description="Memory for such results; the oldest go first.")] = (
        256_000_000
    )
    deadline_seconds: Annotated[float, Meta(gt=0, description="A job's time when the request names none.")] = 30.0
    max_deadline_seconds: Annotated[float, Meta(gt=0, description="The longest deadline a request may name.")] = 120.0
    decoders: Annotated[int, Meta(ge=1, le=64, description="Sandboxed processes that decode uploads.")] = 2
    heic: Annotated[bool, Meta(description="Accept HEIC and HEIF photos.")] = True
    max_image_bytes: Annotated[int, Meta(ge=1, description="Largest selfie, in bytes.")] = 12_000_000
    max_image_pixels: Annotated[int, Meta(ge=1, description="Largest selfie, in pixels.")] = 52_000_000
    max_body_bytes: Annotated[int, Meta(ge=1, description="Largest request body, in bytes.")] = 48_000_000
    max_selfies: Annotated[int, Meta(ge=1, le=8, description="Selfies in one request.")] = 8
    max_images: Annotated[int, Meta(ge=1, le=8, description="Portraits in one request (n).")] = 8
    keys: Annotated[
        str | None, Meta(description="File of API keys (`proofsheet keys add`); unset, everyone may do everything.")
    ] = None
    keys_secret: Annotated[
        str | None, Meta(description="File of the secret that keys the hashes; unset, the keys' file with .secret.")
    ] = None
    insecure: Annotated[
        bool, Meta(description="Listen to other machines without API keys: everyone who reaches it may use it.")
    ] = False
    cors_origins: Annotated[
        tuple[str, ...], Meta(description="Origins whose pages may read answers, as https://shop.example.")
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses and networks of proxies whose X-Forwarded-Proto, -Host and -Prefix are believed."),
    ] = ("127.0.0.1", "::1")
    webhook_loopback: Annotated[
        bool, Meta(description="Let webhooks go to this machine too, over http or https: for tests.")
    ] = False
    traces: Annotated[
        str | None,
        Meta(description="Where OpenTelemetry spans go, as http://collector:4318/v1/traces; needs the extra traces."),
    ] = None
    sealing_keys: Annotated[
        str | None,
        Meta(
            description="File of keys for sealed tokens, one a line in base64, newest first; unset, a random key: "
            "tokens die with the process."
        ),
    ] = None
    identity_seconds: Annotated[float, Meta(gt=0, description="How long an identity token works.")] = 3600.0
    proof_seconds: Annotated[float, Meta(gt=0, description="How long a picture's proof is good for a final.")] = (
        86_400.0
    )
    preview_mark: Annotated[
        Annotated[str, Meta(min_length=1, max_length=40)] | None,
        Meta(description="A word across every preview, such as PROOF; finals never have it."),
    ] = None
    preview_side: Annotated[
        Annotated[int, Meta(ge=64)] | None, Meta(description="Longest side of a delivered preview, in pixels.")
    ] = None
    log_level: Annotated[
        Literal["info", "warning", "error"],
        Meta(
            description="The least of a log line, here and in workers: info, which has every request, warning or error."
        ),
    ] = "info"
    header_seconds: Annotated[float, Meta(gt=0, description="A connection's time to send its headers.")] = 5.0
    body_seconds: Annotated[float, Meta(gt=0, description="A request's time to send its whole body.")] = 300.0
    body_pause_seconds: Annotated[float, Meta(gt=0, description="How long a body may stop coming.")] = 15.0
    body_rate: Annotated[
        float, Meta(gt=0, description="Bytes a second that a body must average, once it has had the time of a pause.")
    ] = 4096.0
    write_seconds: Annotated[float, Meta(gt=0, description="How long a client may leave an answer unread.")] = 30.0
    keep_alive_seconds: Annotated[int, Meta(ge=1, description="How long an idle connection stays open.")] = 75
    drain_seconds: Annotated[int, Meta(ge=0, description="How long running jobs may finish after SIGTERM.")] = 30
    heartbeat_seconds: Annotated[float, Meta(gt=0, description="A worker silent for longer is killed.")] = 20.0
    start_seconds: Annotated[float, Meta(gt=0, description="A worker's time to load and warm up.")] = 600.0

    @property
    def pace(self) -> Pace:
        """How fast a body must come."""
        return Pace(
            total_seconds=self.body_seconds,
            pause_seconds=self.body_pause_seconds,
            bytes_per_second=self.body_rate,
        )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return cls.__struct_fields__


def env_key(name: str) -> str:
    return PREFIX + name.upper()


def describe_setting(name: str) -> tuple[str, str]:
    """A setting's sentence for the help page, and its default as one would write it."""
    hint = get_type_hints(Settings, include_extras=True)[name]
    meta: Meta = hint.__metadata__[0]
    default = getattr(Settings(), name)
    if isinstance(default, tuple):
        return meta.description or "", ",".join(cast(tuple[str, ...], default)) or "none"
    return meta.description or "", "unset" if default is None else str(default)


def load_settings(environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Settings:
    """The settings in `environ`, with `flags` (setting name -> text) over them. Raises SettingsError."""
    texts = {key: value for key, value in environ.items() if key.startswith(PREFIX)}
    texts |= {env_key(name): value for name, value in (flags or {}).items()}
    keys = {env_key(name): name for name in Settings.names()}
    _refuse_unknown(texts, keys)
    hints = get_type_hints(Settings, include_extras=True)
    flagged = {env_key(name): f"--{name.replace('_', '-')}, " for name in flags or {}}
    values = {
        keys[key]: _convert(text, hints[keys[key]], flagged.get(key, "") + f"{key}={text!r}")
        for key, text in texts.items()
    }
    settings = Settings(**values)
    if settings.deadline_seconds > settings.max_deadline_seconds:
        raise SettingsError(
            f"{env_key('deadline_seconds')}={settings.deadline_seconds:g}: "
            f"wanted at most {env_key('max_deadline_seconds')}, which is {settings.max_deadline_seconds:g}"
        )
    for origin in settings.cors_origins:
        if ORIGIN.fullmatch(origin) is None:
            raise SettingsError(
                f"{env_key('cors_origins')}: {origin!r} is no origin; wanted scheme, host and port as a browser sends "
                "them, with no path and no pattern: https://shop.example, http://localhost:5173"
            )
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as error:
            raise SettingsError(
                f"{env_key('trusted_proxies')}: {proxy!r} is no address and no network ({error}); wanted 10.0.0.5 or "
                "10.0.0.0/8 or fd00::/8"
            ) from None
    return settings


def refuse_open_network(settings: Settings) -> None:
    """Without keys a service is for its own machine. Raises SettingsError for one that others could reach."""
    if settings.keys is None and not settings.insecure and not _is_loopback(settings.host):
        raise SettingsError(
            f"{env_key('host')}={settings.host}: without API keys only this machine may reach the service. Make keys "
            f"with `proofsheet keys add` and name their file in {env_key('keys')}, or say --insecure if everyone who "
            "can reach this address may use it"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_unknown(texts: Mapping[str, str], keys: Mapping[str, str]) -> None:
    for key in sorted(texts.keys() - keys.keys()):
        close = difflib.get_close_matches(key, keys, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError(f"{key}: there is no such setting{hint}")


def _convert(text: str, hint: Any, told: str) -> Any:
    """Raises SettingsError, of a setting that is `told` so."""
    kind = hint.__origin__
    if text == "" and type(None) in getattr(kind, "__args__", ()):
        return None
    value: object = [part.strip() for part in text.split(",") if part.strip()] if kind == tuple[str, ...] else text
    try:
        return msgspec.convert(value, hint, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(f"{told}: wanted {wanted(hint)}") from None
