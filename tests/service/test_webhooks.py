"""Webhooks: what is signed, what is sent again, what is never sent, against real sockets of this machine."""

import asyncio
import base64
import contextlib
import datetime
import hashlib
import hmac
import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadRequest
from service.jobs import webhooks as module
from service.jobs.targets import find_addresses, is_public, parse_target
from service.jobs.webhooks import PAUSES_SECONDS, Webhooks
from service.logs import QUIET, JsonLines

BODY = b'{"id": "p1", "status": "succeeded"}'
SECRET = b"m" * 32


class Receiver:
    """An HTTP server that notes what comes and answers with the next of its statuses."""

    def __init__(self, *statuses: int, answer: bytes = b"Content-Length: 0\r\n\r\n", seconds: float = 0.0) -> None:
        self.statuses = list(statuses) or [200]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.peak = 0
        self._answer, self._seconds, self._now = answer, seconds, 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self.peak = max(self.peak, self._now)
        try:
            await self._answer_one(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left, or found our certificate wanting
        finally:
            self._now -= 1
            await close(writer)

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in lines}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append((first, headers, body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        await asyncio.sleep(self._seconds)
        writer.write(f"HTTP/1.1 {status} As Told\r\n".encode() + self._answer)
        await writer.drain()

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        server = await asyncio.start_server(self.handle, "127.0.0.1", 0, ssl=tls)
        async with server:
            yield server.sockets[0].getsockname()[1]


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


class Sleeper:
    """Sleeps by a virtual clock: the pauses are noted and cost nothing."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


def resolver(*answers: list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """Each question gets the next answer; the last one stays."""
    left = list(answers)

    async def resolve(host: str, port: int) -> list[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return resolve


async def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    return await asyncio.wait_for(scenario(), 20)  # pyright: ignore[reportArgumentType]


async def deliver_all(hooks: Webhooks, *targets: str, retry: bool = True, caller_id: str = "shop") -> None:
    for target in targets:
        assert hooks.deliver(target, "completed", BODY, caller_id=caller_id, retry=retry)
    await hooks.stop(10)


def hooks_with(outcomes: list[str], **options: Any) -> Webhooks:
    defaults = {"allow_loopback": True, "count": outcomes.append, "sleep": Sleeper()}
    return Webhooks(SECRET, **(defaults | options))


async def test_an_event_arrives_signed_as_standard_webhooks_says() -> None:
    receiver, outcomes = Receiver(), []

    async def scenario() -> str:
        hooks = hooks_with(outcomes, clock=lambda: 1_800_000_000.7)
        async with receiver.listening() as port:
            await deliver_all(hooks, f"http://127.0.0.1:{port}/hook?id=7")
        return hooks.secret_of("shop")

    secret = await run(scenario)
    ((first, headers, body),) = receiver.requests
    assert first == "POST /hook?id=7 HTTP/1.1"
    assert body == BODY
    assert headers["content-type"] == "application/json"
    assert headers["webhook-timestamp"] == "1800000000"
    assert secret.startswith("whsec_")
    # The algorithm as it is published, written down once more.
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{body.decode()}".encode()
    mac = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
    assert outcomes == ["delivered"]


def test_every_caller_has_a_secret_of_their_own() -> None:
    hooks = Webhooks(SECRET)
    assert hooks.secret_of("shop") == Webhooks(SECRET).secret_of("shop")
    assert hooks.secret_of("shop") != hooks.secret_of("rival")
    assert 24 <= len(base64.b64decode(hooks.secret_of("shop").removeprefix("whsec_"))) <= 64


async def test_a_failing_receiver_is_tried_again_with_the_same_id_and_longer_pauses() -> None:
    receiver, outcomes, sleeper = Receiver(500, 503, 429, 204), [], Sleeper()

    async def scenario() -> None:
        async with receiver.listening() as port:
            await deliver_all(hooks_with(outcomes, sleep=sleeper), f"http://127.0.0.1:{port}/")

    await run(scenario)
    assert len(receiver.requests) == 4
    assert len({headers["webhook-id"] for _, headers, _ in receiver.requests}) == 1
    assert outcomes == ["delivered"]
    for pause, least in zip(sleeper.pauses, PAUSES_SECONDS, strict=False):
        assert least <= pause <= 1.5 * least


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410])
async def test_a_refusal_and_a_redirect_are_final(status: int) -> None:
    elsewhere, outcomes = Receiver(), []

    async def scenario() -> Receiver:
        async with elsewhere.listening() as other:
            receiver = Receiver(status, answer=f"Location: http://127.0.0.1:{other}/\r\n\r\n".encode())
            async with receiver.listening() as port:
                await deliver_all(hooks_with(outcomes), f"http://127.0.0.1:{port}/")
            return receiver

    assert len((await run(scenario)).requests) == 1
    assert elsewhere.requests == []
    assert outcomes == ["refused"]


async def test_it_gives_up_after_the_last_pause_and_at_once_where_no_retry_is_wanted() -> None:
    receiver, outcomes = Receiver(500), []

    async def scenario() -> None:
        async with receiver.listening() as port:
            await deliver_all(hooks_with(outcomes), f"http://127.0.0.1:{port}/")
            await deliver_all(hooks_with(outcomes), f"http://127.0.0.1:{port}/", retry=False)

    await run(scenario)
    assert len(receiver.requests) == len(PAUSES_SECONDS) + 2
    assert outcomes == ["gave_up", "gave_up"]


async def test_a_receiver_that_is_down_or_silent_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 0.2)
    outcomes: list[str] = []
    silent = Receiver(seconds=30)

    async def scenario() -> None:
        async with silent.listening() as port:
            targets = (f"http://127.0.0.1:{port}/", "http://127.0.0.1:1025/")
            await deliver_all(hooks_with(outcomes), *targets, retry=False)

    await run(scenario)
    assert outcomes == ["gave_up", "gave_up"]


async def test_a_receiver_that_answers_without_end_is_not_listened_to() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(100_000):
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                await writer.drain()
        await close(writer)

    outcomes: list[str] = []

    async def scenario() -> None:
        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            await deliver_all(hooks_with(outcomes), f"http://127.0.0.1:{port}/")

    await run(scenario)
    assert outcomes == ["delivered"]


# ---- where it may go


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://shop.example/",
        "//shop.example/",
        "https://user:password@shop.example/",
        "https://shop.example#fragment",
        "https://shop.example\\@evil.example/",
        "https://shop.example /",
        "https://shop.example/\r\nX-Evil: 1",
        "https://münchen.example/",
        "https:///path",
        "https://[fe80::1%25eth0]/",
        "https://shop.example:port/",
        "https://shop.example/\x00",
    ],
)
def test_what_is_no_plain_address_is_malformed(text: str) -> None:
    with pytest.raises(BadRequest, match="webhook_malformed") as caught:
        parse_target(text, allow_loopback=True)
    assert caught.value.extra == {"field": "webhook"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("http://shop.example/", "webhook_not_https"),
        ("https://shop.example:22/", "webhook_port"),
        ("https://shop.example:70000/", "webhook_port"),
        ("https://shop.example/" + "a" * 2048, "webhook_malformed"),
    ],
)
def test_other_wrong_addresses_have_their_own_codes(text: str, code: str) -> None:
    with pytest.raises(BadRequest, match=code) as caught:
        parse_target(text, allow_loopback=False)
    assert "shop" not in caught.value.message


@given(text=st.text(max_size=100).map(lambda rest: "https://" + rest))
@settings(deadline=None)
def test_a_target_is_what_it_says_or_is_refused(text: str) -> None:
    try:
        target = parse_target(text, allow_loopback=False)
    except BadRequest:
        return
    assert text.startswith((f"https://{target.host}", f"https://[{target.host}]"))
    assert all("!" <= letter <= "~" and letter not in '"#\\' for letter in target.path)


PRIVATE = [
    *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001::1", "2001:db8::1", "100::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::7f00:1", "2002:7f00:1::", "2002:a00:1::"),
    *("64:ff9b::7f00:1", "64:ff9b:1::1"),
]


@pytest.mark.parametrize("others", [[], ["8.8.8.8"]], ids=["alone", "beside a public one"])
@pytest.mark.parametrize("address", PRIVATE)
async def test_an_address_that_is_not_public_is_refused_by_any_name(address: str, others: list[str]) -> None:
    assert not is_public(ipaddress.ip_address(address))
    target = parse_target("https://hooks.example/", allow_loopback=False)
    with pytest.raises(BadRequest, match="webhook_not_public"):
        await run(lambda: find_addresses(target, resolver([*others, address]), allow_loopback=False))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:808:808", "2002:808:808::"])
async def test_a_public_address_is_allowed(address: str) -> None:
    target = parse_target("https://hooks.example/", allow_loopback=False)
    assert await run(lambda: find_addresses(target, resolver([address]), allow_loopback=False)) == [address]


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "localhost", "[::1]", "[::ffff:127.0.0.1]"])
async def test_other_ways_to_write_this_machine_are_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises(BadRequest, match="webhook_not_public"):
        await run(lambda: Webhooks(SECRET).check_target(f"https://{host}/"))


async def test_an_unknown_name_and_a_private_one_get_the_same_answer() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    messages: set[str] = set()
    for resolve in (unknown, resolver(["10.0.0.1"])):
        with pytest.raises(BadRequest, match="webhook_not_public") as caught:
            await run(lambda resolve=resolve: Webhooks(SECRET, resolve=resolve).check_target("https://hooks.example/"))
        messages.add(caught.value.message)
    assert len(messages) == 1


async def test_even_with_loopback_allowed_plain_http_goes_nowhere_else() -> None:
    hooks = Webhooks(SECRET, allow_loopback=True, resolve=resolver(["8.8.8.8"]))
    with pytest.raises(BadRequest, match="webhook_not_public"):
        await run(lambda: hooks.check_target("http://hooks.example/"))


async def test_the_connection_goes_to_the_address_that_was_looked_at_and_keeps_the_name() -> None:
    """A second look would find a private address; there is none: the name is asked once for each attempt."""
    receiver, outcomes = Receiver(), []
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    async def scenario() -> int:
        async with receiver.listening() as port:
            await deliver_all(hooks_with(outcomes, resolve=resolve), f"http://hooks.invalid:{port}/")
            return port

    port = await run(scenario)
    ((_, headers, _),) = receiver.requests
    assert headers["host"] == f"hooks.invalid:{port}"
    assert asked == ["hooks.invalid"]


async def test_a_name_that_turns_private_between_attempts_gets_nothing_more() -> None:
    receiver, outcomes = Receiver(500), []

    async def scenario() -> None:
        async with receiver.listening() as port:
            resolve = resolver(["127.0.0.1"], ["10.0.0.1"])
            await deliver_all(hooks_with(outcomes, resolve=resolve), f"http://hooks.invalid:{port}/")

    await run(scenario)
    assert len(receiver.requests) == 1
    assert outcomes == ["gave_up"]


def certificate_for(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a self-signed certificate, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(*plain) + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=pem.decode())


@pytest.mark.parametrize(("asked_for", "outcome"), [("hooks.test", "delivered"), ("other.test", "gave_up")])
async def test_the_certificate_must_be_the_names_and_not_the_addresss(
    tmp_path: Path, asked_for: str, outcome: str
) -> None:
    server, client = certificate_for("hooks.test", tmp_path)
    receiver, outcomes = Receiver(), []

    async def scenario() -> None:
        async with receiver.listening(server) as port:
            hooks = hooks_with(outcomes, resolve=resolver(["127.0.0.1"]), tls=client)
            await deliver_all(hooks, f"https://{asked_for}:{port}/", retry=False)

    await run(scenario)
    assert outcomes == [outcome]
    assert len(receiver.requests) == (outcome == "delivered")


async def test_no_connection_is_used_twice() -> None:
    """Two names may share an address: the second would ride on the certificate of the first."""
    connections: list[int] = []
    outcomes: list[str] = []

    async def keep_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(BODY))
                connections[-1] += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        await close(writer)

    async def scenario() -> None:
        server = await asyncio.start_server(keep_open, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            hooks = hooks_with(outcomes)
            for _ in range(3):
                hooks.deliver(f"http://127.0.0.1:{port}/", "completed", BODY, caller_id="shop")
                while hooks.pending:
                    await asyncio.sleep(0.005)
            await hooks.stop(1)

    await run(scenario)
    assert outcomes == ["delivered"] * 3
    assert connections == [1, 1, 1]


# ---- bounds


async def test_no_caller_has_more_than_a_quarter_of_the_deliveries_under_way() -> None:
    receiver, outcomes = Receiver(seconds=0.05), []

    async def scenario() -> None:
        async with receiver.listening() as port:
            await deliver_all(hooks_with(outcomes), *[f"http://127.0.0.1:{port}/"] * 12)

    await run(scenario)
    assert receiver.peak == module.MAX_UNDER_WAY // 4
    assert outcomes == ["delivered"] * 12


async def test_what_is_over_a_bound_is_dropped_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[str] = []

    async def scenario() -> list[bool]:
        hooks = hooks_with(outcomes, resolve=resolver(["127.0.0.1"]))
        monkeypatch.setattr(module, "MAX_PENDING", 8)
        target = "http://127.0.0.1:1025/"
        kept = [hooks.deliver(target, "start", BODY, caller_id="greedy", retry=False) for _ in range(3)]
        kept.append(hooks.deliver(target, "start", BODY, caller_id="modest", retry=False))
        monkeypatch.setattr(module, "MAX_PENDING_BYTES", 4 * len(BODY) - 1)
        kept.append(hooks.deliver(target, "start", BODY, caller_id="modest", retry=False))
        kept.append(hooks.deliver("http://user@127.0.0.1/", "start", BODY, caller_id="modest", retry=False))
        await hooks.stop(10)
        return kept

    assert await run(scenario) == [True, True, False, True, False, False]
    assert outcomes.count("dropped") == 3
    assert len(outcomes) == 6


async def test_stopping_waits_for_what_is_under_way_and_drops_the_rest_in_time() -> None:
    quick, slow, outcomes = Receiver(seconds=0.1), Receiver(seconds=30), []

    async def scenario() -> int:
        async with quick.listening() as one, slow.listening() as other:
            hooks = hooks_with(outcomes)
            for port in (one, other):
                hooks.deliver(f"http://127.0.0.1:{port}/", "completed", BODY, caller_id="shop")
            await hooks.stop(2)
            return hooks.pending

    assert await run(scenario) == 0
    assert sorted(outcomes) == ["delivered", "dropped"]


async def test_no_log_line_holds_an_address_a_body_or_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)  # as `set_up_logging` does
    receiver = Receiver(500, 200)

    async def scenario() -> None:
        async with receiver.listening() as port:
            await deliver_all(hooks_with([]), f"http://127.0.0.1:{port}/secret-path?token=abc")

    await run(scenario)
    lines = [JsonLines().format(record) for record in caplog.records]
    assert any('"outcome":"delivered"' in line for line in lines)
    told = "\n".join(lines)
    assert [word for word in ("secret-path", "abc", "127.0.0.1", "succeeded", "whsec") if word in told] == []
