"""The examples of proxies: their figures against the settings and, where nginx or Caddy is installed, live."""

import asyncio
import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from scripts.fronts import fake_worker
from scripts.fronts.fake_worker import Script
from service.settings import Settings
from tests.service.clients import PICTURE
from tests.service.harness import JPEG, SELFIE, build_service, listening

PROXIES = Path(__file__).resolve().parents[2] / "service" / "proxies"
NGINX, CADDY = (PROXIES / "nginx.conf").read_text(), (PROXIES / "Caddyfile").read_text()
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "MB": 10**6, "s": 1}
PLAIN = Settings()


def figure(text: str, name: str) -> int:
    """The value of a directive, in bytes or seconds."""
    found = re.search(rf"^\s*{name} (\d+)(\w*);?(\s|$)", text, re.MULTILINE)
    assert found is not None, name
    return int(found[1]) * UNITS[found[2]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (NGINX, {"body": "client_max_body_size", "answer": "proxy_read_timeout", "idle": "keepalive_timeout"}),
        (CADDY, {"body": "max_size", "answer": "response_header_timeout", "idle": "keepalive"}),
    ],
    ids=["nginx", "caddy"],
)
def test_the_figures_of_an_example_fit_the_settings(text: str, names: dict[str, str]) -> None:
    assert PLAIN.max_body_bytes <= figure(text, names["body"]) < 1.1 * PLAIN.max_body_bytes
    assert figure(text, names["answer"]) > PLAIN.max_deadline_seconds + PLAIN.header_seconds
    assert figure(text, names["idle"]) < PLAIN.keep_alive_seconds
    assert f"127.0.0.1:{PLAIN.port}" in text
    for commented in re.findall(r"PROOFSHEET_(\w+) is ([\d,]+)", text):
        assert getattr(PLAIN, commented[0].lower()) == int(commented[1].replace(",", ""))


def test_nginx_writes_no_picture_to_a_file_and_no_prompt_to_a_log() -> None:
    assert "proxy_request_buffering off;" in NGINX
    assert figure(NGINX, "proxy_max_temp_file_size") == 0
    (log,) = re.findall(r"^log_format \w+ '(.*)';$", NGINX, re.MULTILINE)
    assert not {"$request", "$request_uri", "$args", "$query_string", "$http_referer"} & set(log.split())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (NGINX, ["X-Forwarded-Proto $scheme", "X-Forwarded-Host $http_host", 'X-Forwarded-Prefix ""']),
        (CADDY, ["header_up -X-Forwarded-Prefix"]),
    ],
    ids=["nginx", "caddy"],
)
def test_what_a_caller_says_of_its_address_does_not_get_through(text: str, lines: list[str]) -> None:
    assert all(line in text for line in lines)


# ---- live


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def nginx_command(folder: Path, port: int, service_port: int) -> list[str]:
    site = re.sub(r"^ *listen \[::\].*\n", "", NGINX, flags=re.MULTILINE)
    site = site.replace("listen 80;", f"listen 127.0.0.1:{port};").replace(
        "127.0.0.1:8000", f"127.0.0.1:{service_port}"
    )
    site = site.replace("/var/log/nginx", str(folder))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/errors; events {{}} http {{ {places}\n{site}}}"
    )
    return ["nginx", "-p", str(folder), "-e", str(folder / "errors"), "-c", str(folder / "nginx.conf")]


def caddy_command(folder: Path, port: int, service_port: int) -> list[str]:
    site = CADDY.replace("\n:80 {", f"\n:{port} {{\n\tbind 127.0.0.1").replace(
        "127.0.0.1:8000", f"127.0.0.1:{service_port}"
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


COMMANDS = {"nginx": nginx_command, "caddy": caddy_command}


@contextlib.asynccontextmanager
async def behind(proxy: str, folder: Path, service_port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the example on a port of its own, before the service on another."""
    if shutil.which(proxy) is None:
        pytest.skip(f"{proxy} is not installed: its example is checked by its text alone")
    port = free_port()
    command = COMMANDS[proxy](folder, port, service_port)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            async with (
                asyncio.timeout(20),
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as client,
            ):
                while True:
                    assert process.poll() is None, process.stderr.read() if process.stderr else ""
                    with contextlib.suppress(httpx.TransportError):
                        if (await client.get("/livez")).status_code == 200:
                            break
                    await asyncio.sleep(0.02)
                yield client
        finally:
            process.terminate()


async def test_nginx_passes_on_the_refusal_of_a_picture_that_is_too_large(tmp_path: Path) -> None:
    """Caddy may cut the connection instead, on what it has not read of the body."""
    async with listening(build_service()) as port, behind("nginx", tmp_path, port) as client:
        answer = await client.post("/v1/portraits", content=bytes(PLAIN.max_image_bytes + 1), headers=JPEG)
    assert (answer.status_code, answer.json()["limit"]) == (413, PLAIN.max_image_bytes)


@pytest.mark.parametrize("proxy", COMMANDS)
async def test_through_the_example_come_long_proofs_large_bodies_streams_and_addresses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proxy: str
) -> None:
    monkeypatch.setattr(fake_worker, "IDENTITY", bytes(16_384))
    prediction = {"input": {"input_image": PICTURE, "prompt": "a man img"}}
    forged = {"X-Forwarded-Prefix": "/forged", "X-Forwarded-Proto": "https", "Host": "api.shop.example"}
    async with (
        listening(build_service(script=Script(step_seconds=0.05))) as port,
        behind(proxy, tmp_path, port) as client,
    ):
        two = [("image", ("a.jpg", SELFIE, "image/jpeg"))] * 2
        image = await client.post("/v1/portraits", files=two, headers={"Accept": "image/*"})
        final = await client.post("/v1/finals", json={"proof": image.headers.get("x-proof")})
        large = await client.post("/v1/portraits", content=bytes(PLAIN.max_image_bytes), headers=JPEG)
        told = await client.post("/v1/models/tencentarc/photomaker/predictions", json=prediction, headers=forged)
        headers = JPEG | {"Accept": "text/event-stream"}
        async with client.stream(
            "POST", "/v1/portraits?steps=12&prompt=a%20secret", content=SELFIE, headers=headers
        ) as stream:
            times = [time.monotonic() async for line in stream.aiter_lines() if line.startswith("event: ")]
    assert [answer.status_code for answer in (image, final, large)] == [200] * 3
    assert told.json()["urls"]["get"].startswith("http://api.shop.example/v1/predictions/")
    assert times[-1] - times[0] > 0.3
    assert not any("secret" in path.read_text() for path in tmp_path.iterdir() if path.is_file() and path.name != "pid")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != tmp_path]
