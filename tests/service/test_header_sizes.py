"""Headers of answers stay under 3.5 KB together, since nginx answers 502 for more than 4 KB; proofs go by reference."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from scripts.fronts import fake_worker
from service.access.key_file import KeyEntry, add_key, parse_keys
from service.access.keys import Keys
from service.api.answers import MAX_PROOF_HEADER
from service.api.forms.portrait import MAX_SEED
from service.jobs.kept_proofs import PREFIX, KeptProofs
from service.jobs.sealing import Sealer
from service.secrets import Secrets
from tests.service.harness import JPEG, SELFIE, build_service, client_of, listening

LIMIT_BYTES = 3584
SECRET = b"s" * 32
ORIGIN = f"https://{'a' * 245}.example:65535"
# Bytes of an identity before it is sealed, by bundle and selfies (service/api/README.md, "Identities").
IDENTITIES = {
    "tiny": 1200,
    "instantid": 2048,
    "photomaker v1, one selfie": 4096,
    "photomaker v2, two selfies": 2 * 8192,
    "photomaker v2, eight selfies": 8 * 8192,
    "ip-adapter": 65_536,
    "ip-adapter, eight selfies": 8 * 65_536,
}
TWO_SELFIES = [("image", ("a.jpg", SELFIE, "image/jpeg"))] * 2
LONGEST = {"seed": str(MAX_SEED), "prompt": "a person " + "a" * 1991, "negative_prompt": "b" * 2000}


LONGEST_PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": f"authorization,x-stainless-{'s' * 998}",
}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/v1/portraits", {"content": SELFIE, "headers": JPEG | {"Prefer": "respond-async"}}),
    ("POST", "/v1/portraits", {"content": SELFIE, "headers": JPEG | {"Accept": "text/event-stream"}}),
    ("POST", "/v1/portraits", {"content": b"", "headers": {"Authorization": "Bearer ps_none"}}),
    ("POST", "/v1/identities", {"content": SELFIE, "headers": JPEG}),
    ("POST", "/v1/finals", {"json": {"proof": "proof." + "A" * 50_000}}),
    ("POST", "/v1/images/edits", {"files": {"image": SELFIE}, "data": {"prompt": "a person"}}),
    ("POST", "/predictions", {"json": {"input": {"prompt": "a man img"}}}),
    ("POST", "/v1/predictions", {"json": {"version": "v" * 200, "input": {}}}),
    ("GET", f"/v1/jobs/{'j' * 2000}", {}),
    ("GET", f"/{'p' * 2000}", {}),
    ("GET", "/docs", {}),
    ("GET", "/metrics", {}),
    ("OPTIONS", "/v1/portraits", {"headers": LONGEST_PREFLIGHT}),
]


def size(answer: httpx.Response) -> int:
    """Bytes of the status line and of all headers on the wire, and of the empty line."""
    fields = sum(len(name) + len(value) + 4 for name, value in answer.headers.raw)
    return len(f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\r\n\r\n") + fields


@contextlib.asynccontextmanager
async def longest_headers(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service with keys, both of which make every header as long as it can be."""
    path = folder / "keys.toml"
    entry = KeyEntry(
        caller="c" * 32,
        hash="0" * 64,
        scopes=frozenset({"preview", "final", "admin"}),
        images_per_minute=10**12,
        jobs_in_flight=10**12,
    )
    key = add_key(path, SECRET, entry)
    keys = Keys(lambda: parse_keys(path.read_text()), SECRET)
    secrets = Secrets(keys=keys, sealer=Sealer.with_random_key(), webhook_secret=SECRET)
    patient = {"deadline_seconds": 1e9, "max_deadline_seconds": 1e9}  # what takes so long is refused otherwise
    service = build_service(secrets=secrets, cors_origins=(ORIGIN,), **patient)
    headers = {
        "Origin": ORIGIN,
        "Authorization": f"Bearer {key}",
        "X-Request-Id": "r" * 64,
        "Prefer": "wait=3599.999",
        "Idempotency-Key": "k" * 255,
        "Connection": "keep-alive",
    }
    async with listening(service) as port, httpx.AsyncClient(headers=headers, timeout=20) as client:
        client.base_url = f"http://127.0.0.1:{port}"
        yield client


@pytest.fixture
def slow_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = dict.fromkeys(msgspec.structs.asdict(fake_worker.TIMINGS), 3_599_999.987)
    monkeypatch.setattr(fake_worker, "TIMINGS", type(fake_worker.TIMINGS)(**slow))


@pytest.mark.usefixtures("slow_stages")
@pytest.mark.parametrize("fields", [{}, LONGEST], ids=["short", "longest"])
async def test_an_image_of_any_bundle_has_headers_within_the_limit_and_a_proof_that_makes_its_final(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fields: dict[str, str]
) -> None:
    proofs: dict[str, str | None] = {}
    async with longest_headers(tmp_path) as client:
        for number, (bundle, num_bytes) in enumerate(IDENTITIES.items()):
            monkeypatch.setattr(fake_worker, "IDENTITY", bytes(num_bytes))
            headers = {"Accept": "image/*", "Idempotency-Key": f"{number}{'k' * 254}"}
            make: dict[str, Any] = {"files": TWO_SELFIES, "data": fields, "headers": headers}
            answers = [await client.post("/v1/portraits", **make) for _ in range(2)]
            proofs[bundle] = answers[0].headers.get("x-proof")
            assert answers[1].headers.get("x-proof") == proofs[bundle]
            assert answers[1].headers["idempotency-replayed"] == "true"
            if proofs[bundle] is not None:
                headers["Idempotency-Key"] = f"{number}{'f' * 254}"
                answers += [await client.post("/v1/finals", json={"proof": proofs[bundle]}, headers=headers)]
            assert [one.status_code for one in answers] == [200] * len(answers), bundle
            assert max(map(size, answers)) < LIMIT_BYTES, bundle
    assert [bundle for bundle, proof in proofs.items() if proof is None] == ["ip-adapter, eight selfies"]  # no token


@pytest.mark.usefixtures("slow_stages")
async def test_the_longest_proof_that_a_header_holds_is_within_the_limit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with longest_headers(tmp_path) as client:
        lengths: dict[int, int] = {}
        for number in range(500, 1400, 100):
            monkeypatch.setattr(fake_worker, "IDENTITY", bytes(number))
            headers = {"Accept": "image/*", "Idempotency-Key": f"{number}{'k' * 250}"}
            answer = await client.post("/v1/portraits", content=SELFIE, headers=JPEG | headers)
            assert size(answer) < LIMIT_BYTES
            lengths[len(answer.headers["x-proof"])] = size(answer)
    longest = max(lengths)
    assert MAX_PROOF_HEADER - 140 < longest <= MAX_PROOF_HEADER
    assert lengths[longest] + MAX_PROOF_HEADER - longest < LIMIT_BYTES


@pytest.mark.usefixtures("slow_stages")
async def test_answers_of_every_surface_have_headers_within_the_limit(tmp_path: Path) -> None:
    async with longest_headers(tmp_path) as client:
        for number, (method, path, sent) in enumerate(REQUESTS):
            headers = {"Idempotency-Key": f"{number}{'k' * 250}"} | sent.get("headers", {})
            answer = await client.request(method, path, **(sent | {"headers": headers}))
            assert size(answer) < LIMIT_BYTES, path
            assert answer.headers["x-request-id"] == "r" * 64


# ---- references


async def image_with_reference(client: httpx.AsyncClient) -> str:
    answer = await client.post("/v1/portraits", content=SELFIE, headers=JPEG | {"Accept": "image/*"})
    return answer.headers["x-proof"]


@pytest.mark.parametrize("surface", ["json", "form", "multipart", "openai"])
async def test_a_reference_is_taken_wherever_a_proof_is(monkeypatch: pytest.MonkeyPatch, surface: str) -> None:
    monkeypatch.setattr(fake_worker, "IDENTITY", bytes(16_000))
    service = build_service()
    async with client_of(service) as client:
        reference = await image_with_reference(client)
        assert reference.startswith(PREFIX)
        assert service.figure("held_bytes", kind="proofs") > 16_000
        ways: dict[str, dict[str, Any]] = {
            "json": {"content": json.dumps({"proof": reference}), "headers": {"Content-Type": "application/json"}},
            "form": {"data": {"proof": reference}},
            "multipart": {"files": {"proof": (None, reference + "\n")}},
            "openai": {"json": {"prompt": "", "proof": reference}},
        }
        path = "/v1/images/generations" if surface == "openai" else "/v1/finals"
        answer = await client.post(path, **ways[surface])
    assert answer.status_code == 200, answer.text
    assert len(service.fakes[0].orders[-1].identity or b"") == 16_000
    assert service.front.kept_proofs.num_bytes == 0  # when the service has ended


@pytest.mark.parametrize("reference", [PREFIX, PREFIX + "0" * 32, PREFIX + "../" * 50])
async def test_a_reference_to_nothing_is_refused_with_what_to_do(reference: str) -> None:
    async with client_of(build_service()) as client:
        answer = await client.post("/v1/finals", json={"proof": reference})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (400, "proof_not_kept", "proof")
    assert problem["limit"] == 600


async def test_where_no_result_is_kept_a_long_proof_has_no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_worker, "IDENTITY", bytes(16_000))
    async with client_of(build_service(result_seconds=0.0)) as client:
        answer = await client.post("/v1/portraits", content=SELFIE, headers=JPEG | {"Accept": "image/*"})
    assert answer.status_code == 200
    assert "x-proof" not in answer.headers


async def test_kept_proofs_stay_within_their_bytes_and_the_oldest_go_first() -> None:
    kept = KeptProofs(seconds=60, max_bytes=1000)
    references = [kept.keep(str(number), "p" * 400) or "" for number in range(3)]
    assert kept.num_bytes == 800
    assert [kept.find(reference) is not None for reference in references] == [False, True, True]
    kept.clear()
    assert kept.num_bytes == 0
