"""The guard over HTTP: which key opens which door, and what an answer says of quotas."""

from pathlib import Path

import httpx
import pytest

from service.access.caller import ANONYMOUS, Caller, require
from service.access.key_file import KeyEntry, add_key, parse_keys
from service.access.keys import Keys
from service.errors import Forbidden
from service.jobs.sealing import Sealer
from service.secrets import Secrets
from tests.service.harness import JPEG, SELFIE, build_service, client_of

SECRET = b"s" * 32


class Locked:
    """A service with keys, and the keys."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self._path = folder / "keys.toml"
        self.preview = self.add("preview")
        self.admin = self.add("admin")
        keys = Keys(lambda: parse_keys(self._path.read_text()), SECRET)
        secrets = Secrets(keys=keys, sealer=Sealer.with_random_key(), webhook_secret=SECRET)
        self.service = build_service(secrets=secrets, **settings)  # pyright: ignore[reportArgumentType]

    def add(self, scope: str, **fields: object) -> str:
        entry = {"caller": f"{scope}-caller", "hash": "0" * 64, "scopes": frozenset({scope})}
        return add_key(self._path, SECRET, KeyEntry(**(entry | fields)))  # pyright: ignore[reportArgumentType]


@pytest.fixture
def locked(tmp_path: Path) -> Locked:
    return Locked(tmp_path)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def ask(locked: Locked, *requests: tuple[str, str, dict[str, str]], body: bytes = b"") -> list[httpx.Response]:
    async with client_of(locked.service) as client:
        return [await client.request(method, path, headers=headers, content=body) for method, path, headers in requests]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/schema/openapi.json"])
async def test_probes_and_documents_stay_open(locked: Locked, path: str) -> None:
    nothing, wrong = await ask(locked, ("GET", path, {}), ("GET", path, bearer("nonsense")))
    assert nothing.status_code == wrong.status_code == 200


@pytest.mark.parametrize("path", ["/v1/styles", "/v1/models", "/v1/portraits", "/health", "/metrics", "/metrics/"])
async def test_everything_else_asks_for_a_key(locked: Locked, path: str) -> None:
    method = "POST" if path == "/v1/portraits" else "GET"
    (answer,) = await ask(locked, (method, path, {}))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="proofsheet"'
    assert answer.headers["connection"] == "close"
    assert answer.json()["code"] == "key_missing"


async def test_a_key_comes_as_bearer_in_any_case_or_as_x_api_key_or_both(locked: Locked) -> None:
    key = locked.preview
    ways = [bearer(key), {"authorization": f"bearer  {key}"}, {"X-API-Key": key}, bearer(key) | {"X-API-Key": key}]
    assert [answer.status_code for answer in await ask(locked, *(("GET", "/v1/styles", way) for way in ways))] == [
        200
    ] * 4


async def test_two_different_keys_and_other_schemes_are_refused(locked: Locked) -> None:
    ways = [bearer(locked.preview) | {"X-API-Key": locked.admin}, {"Authorization": "Basic dXNlcjpwYXNz"}, bearer("")]
    codes = [answer.json()["code"] for answer in await ask(locked, *(("GET", "/v1/styles", way) for way in ways))]
    assert codes == ["key_ambiguous", "key_malformed", "key_malformed"]


@pytest.mark.parametrize(
    ("authorization", "x_api_key"),
    [
        ("Basic dXNlcjpwYXNz", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
        ("Negotiate YII=", None),
        ("Bearer eyJhbGciOiJIUzI1NiJ9.e30.c2ln", None),
        ("Bearer none", None),
        (None, ""),
        (None, "the-gateways-own"),
    ],
)
async def test_what_a_proxy_adds_beside_a_valid_key_is_no_error(
    locked: Locked, authorization: str | None, x_api_key: str | None
) -> None:
    key = locked.preview
    headers = {"Authorization": authorization, "X-API-Key": key} if x_api_key is None else bearer(key)
    headers |= {} if x_api_key is None else {"X-API-Key": x_api_key}
    (answer,) = await ask(locked, ("GET", "/v1/styles", {name: text or "" for name, text in headers.items()}))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "key_malformed"),
        ({"Authorization": "Bearer"}, "key_malformed"),
        ({"Authorization": "Bearer eyJ", "X-API-Key": "the-gateways-own"}, "key_malformed"),
        ({"X-API-Key": ""}, "key_missing"),
        ({}, "key_missing"),
    ],
)
async def test_what_a_proxy_adds_is_no_key(locked: Locked, headers: dict[str, str], code: str) -> None:
    (answer,) = await ask(locked, ("GET", "/v1/styles", headers))
    assert (answer.status_code, answer.json()["code"]) == (401, code)


async def test_the_services_own_pages_ask_for_the_scope_admin(locked: Locked) -> None:
    requests = [
        ("GET", path, bearer(key)) for path in ("/health", "/metrics") for key in (locked.preview, locked.admin)
    ]
    refused, health, also_refused, metrics = await ask(locked, *requests)
    assert refused.status_code == also_refused.status_code == 403
    assert refused.json()["code"] == "scope_missing"
    assert refused.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="admin"'
    assert health.status_code == metrics.status_code == 200


async def test_a_refusal_reads_no_byte_of_the_body(locked: Locked) -> None:
    (answer,) = await ask(locked, ("POST", "/v1/portraits", JPEG), body=SELFIE)
    assert answer.status_code == 401
    assert locked.service.decoders.seen == []


async def test_no_key_is_ever_logged_or_counted(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wrong = locked.preview[:-4] + "AAAA"
    await ask(locked, ("GET", "/v1/styles", bearer(locked.preview)), ("GET", "/v1/styles", bearer(wrong)))
    noted = "".join(str(vars(record)) for record in caplog.records) + locked.service.metrics.page().decode()
    assert "preview-caller" in noted
    assert locked.preview.split("_", 2)[2][:20] not in noted
    assert locked.service.figure("rejections_total", reason="key_unknown") == 1


async def test_without_keys_any_key_is_ignored_and_everything_is_open() -> None:
    async def go() -> list[int]:
        async with client_of(build_service()) as client:
            paths = ["/v1/styles", "/health", "/metrics"]
            return [(await client.get(path, headers=bearer("sk-anything"))).status_code for path in paths]

    assert await go() == [200, 200, 200]


async def test_a_caller_with_quotas_is_told_of_them_on_every_answer(locked: Locked) -> None:
    key = locked.add("preview", images_per_minute=30)
    good, missing = await ask(locked, ("GET", "/v1/styles", bearer(key)), ("POST", "/v1/portraits", bearer(key)))
    for answer in (good, missing):
        assert answer.headers["ratelimit-policy"] == '"images";q=30;qu="images";w=60'
        assert answer.headers["ratelimit"] == '"images";r=30;t=2'
    assert missing.status_code == 415
    (free,) = await ask(locked, ("GET", "/v1/styles", bearer(locked.preview)))
    assert "ratelimit" not in free.headers


def test_a_missing_scope_is_named() -> None:
    caller = Caller(id="page", scopes=frozenset({"preview"}))
    require(ANONYMOUS, "final")
    require(caller, "preview")
    with pytest.raises(Forbidden, match="scope_missing") as caught:
        require(caller, "final")
    assert caught.value.extra == {"scope": "final"}


# ---- pages of other origins


async def test_a_listed_origin_may_read_answers_and_refusals_and_no_other_may(tmp_path: Path) -> None:
    locked = Locked(tmp_path, cors_origins=("https://shop.example",))
    ours, theirs = {"Origin": "https://shop.example"}, {"Origin": "https://shop.example.evil.example"}
    good, refused, foreign = await ask(
        locked,
        ("GET", "/v1/styles", ours | bearer(locked.preview)),
        ("GET", "/v1/styles", ours),
        ("GET", "/v1/styles", theirs | bearer(locked.preview)),
    )
    assert good.headers["access-control-allow-origin"] == "https://shop.example"
    assert "RateLimit" in good.headers["access-control-expose-headers"]
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-origin" not in foreign.headers
    assert "access-control-allow-credentials" not in good.headers


async def test_a_preflight_needs_no_key_and_names_what_may_be_sent(tmp_path: Path) -> None:
    locked = Locked(tmp_path, cors_origins=("https://shop.example",))
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
    good, method, foreign = await ask(
        locked,
        ("OPTIONS", "/v1/portraits", asked | {"Origin": "https://shop.example"}),
        ("OPTIONS", "/v1/portraits", {"Origin": "https://shop.example", "Access-Control-Request-Method": "PATCH"}),
        ("OPTIONS", "/v1/portraits", asked | {"Origin": "https://evil.example"}),
    )
    assert good.status_code == 204
    assert good.headers["access-control-allow-origin"] == "https://shop.example"
    assert method.status_code == foreign.status_code == 400


async def test_without_a_list_no_answer_speaks_of_origins(locked: Locked) -> None:
    (answer,) = await ask(locked, ("GET", "/v1/styles", bearer(locked.preview) | {"Origin": "https://shop.example"}))
    assert not [name for name in answer.headers if name.startswith("access-control")]
