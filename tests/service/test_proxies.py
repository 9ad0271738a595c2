"""Behind a proxy: whose word is believed about scheme, host and prefix, and where it shows."""

import socket
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from service.server import listen
from service.settings import Settings, SettingsError, load_settings
from tests.service.clients import PICTURE
from tests.service.harness import JPEG, SELFIE, build_service, listening

PROXY, STRANGER = "10.1.2.3", "203.0.113.9"
TRUSTED = ("10.0.0.0/8", "fd00::/8")
SAID = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "api.shop.example", "X-Forwarded-Prefix": "/proofs"}
PREDICTION = {"input": {"input_image": PICTURE, "prompt": "a man img"}}
MODEL = "/v1/models/tencentarc/photomaker/predictions"


async def ask(
    method: str,
    path: str,
    *,
    peer: str = PROXY,
    trusted: Sequence[str] = TRUSTED,
    said: dict[str, str] | None = None,
    **sent: Any,
) -> httpx.Response:
    """One request that comes from `peer`, with what it says of its caller's address."""
    service = build_service(trusted_proxies=tuple(trusted))
    async with service.app.lifespan():
        await service.workers.wait_ready()
        transport = httpx.ASGITransport(app=service.app, client=(peer, 4321))
        async with httpx.AsyncClient(transport=transport, base_url="http://inside:8000", timeout=20) as client:
            headers = sent.pop("headers", {}) | (SAID if said is None else said)
            return await client.request(method, path, headers=headers, **sent)


async def base(**options: Any) -> str:
    """What stands before /v1/ in the addresses of an answer."""
    answer = await ask("POST", MODEL, json=PREDICTION, **options)
    return answer.json()["urls"]["get"].partition("/v1/")[0]


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (PROXY, TRUSTED),
        (f"::ffff:{PROXY}", TRUSTED),
        ("fd00::7", TRUSTED),
        ("127.0.0.1", Settings().trusted_proxies),
        ("::1", Settings().trusted_proxies),
    ],
)
async def test_a_trusted_proxy_is_believed(peer: str, trusted: Sequence[str]) -> None:
    assert await base(peer=peer, trusted=trusted) == "https://api.shop.example/proofs"


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [(STRANGER, TRUSTED), (PROXY, Settings().trusted_proxies), (PROXY, ()), ("::1", TRUSTED), ("127.0.0.1", ())],
)
async def test_anybody_else_is_not(peer: str, trusted: Sequence[str]) -> None:
    assert await base(peer=peer, trusted=trusted) == "http://inside:8000"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "http://inside:8000"),
        ({"X-Forwarded-Proto": "https"}, "https://inside:8000"),
        ({"X-Forwarded-Proto": "HTTPS", "X-Forwarded-Host": "a.example:8443"}, "https://a.example:8443"),
        ({"X-Forwarded-Host": "[2001:db8::1]:80"}, "http://[2001:db8::1]:80"),
        ({"X-Forwarded-Host": "evil.example, api.shop.example"}, "http://api.shop.example"),
        ({"X-Forwarded-Prefix": "/a/b-c/"}, "http://inside:8000/a/b-c"),
        ({"X-Forwarded-Prefix": "/"}, "http://inside:8000"),
        ({"X-Forwarded-Prefix": "/v1"}, "http://inside:8000"),
        ({"X-Forwarded-Proto": "javascript"}, "http://inside:8000"),
        ({"X-Forwarded-Host": "a.example/evil?x=y"}, "http://inside:8000"),
        ({"X-Forwarded-Host": ""}, "http://inside:8000"),
        ({"X-Forwarded-Prefix": "//evil.example"}, "http://inside:8000"),
        ({"X-Forwarded-Prefix": "/../.."}, "http://inside:8000"),
        ({"X-Forwarded-Prefix": "no-slash"}, "http://inside:8000"),
    ],
)
async def test_what_is_no_scheme_host_or_prefix_is_left_out(said: dict[str, str], expected: str) -> None:
    assert await base(said=said) == expected


async def test_every_address_that_we_write_has_the_prefix() -> None:
    accepted = await ask("POST", "/v1/portraits", content=SELFIE, headers=JPEG | {"Prefer": "respond-async"})
    assert accepted.status_code == 202
    assert accepted.headers["location"] == accepted.json()["links"]["self"]
    assert accepted.json()["links"]["events"].startswith("/proofs/v1/jobs/")
    assert (await ask("GET", "/nowhere")).json()["type"] == "/proofs/docs/errors#not_found"
    assert (await ask("GET", "/v1/jobs/none")).json()["type"] == "/proofs/docs/errors#job_not_found"
    assert (await ask("GET", "/openapi.json")).json()["servers"] == [{"url": "/proofs"}]
    for path in ("/docs", "/docs/errors"):
        assert 'href="/proofs/docs/style.css"' in (await ask("GET", path)).text
    root = (await ask("GET", "/")).json()
    assert [value for name, value in root.items() if name.endswith("_url")] == [
        f"/proofs/{path}" for path in ("docs", "openapi.json", "predictions", "health-check")
    ]
    model = await ask("GET", "/v1/models/tencentarc/photomaker")
    assert model.json()["url"] == "https://api.shop.example/proofs/v1/models/tencentarc/photomaker"


async def test_on_a_real_port_the_server_believes_nobody_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # which uvicorn would read
    async with listening(build_service(trusted_proxies=())) as port, httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/v1/models/tencentarc/photomaker", headers=SAID)
    assert answer.json()["url"].startswith(f"http://127.0.0.1:{port}/v1/")


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "proxy.internal", "*", "10.0.0.0/40"])
def test_a_proxy_that_is_no_address_is_refused_at_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"PROOFSHEET_TRUSTED_PROXIES: .* is no address and no network"):
        load_settings({"PROOFSHEET_TRUSTED_PROXIES": f"::1,{wrong}"})


def test_an_empty_list_trusts_nobody() -> None:
    assert load_settings({"PROOFSHEET_TRUSTED_PROXIES": ""}).trusted_proxies == ()


# ---- families


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize(
    ("host", "reached"),
    [("::", ["127.0.0.1", "::1"]), ("::1", ["::1"]), ("0.0.0.0", ["127.0.0.1"]), ("127.0.0.1", ["127.0.0.1"])],
)
def test_a_host_listens_on_its_families(host: str, reached: list[str]) -> None:
    with listen(Settings(host=host, port=0)) as bound:
        port = bound.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family) as client:
                assert (client.connect_ex((address, port)) == 0) == (address in reached), address
