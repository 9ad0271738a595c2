"""Requests that offer another protocol, as Java's HttpClient and `curl --http2` do with every one, on a real port."""

import asyncio
import json

import pytest

from tests.service.clients import PICTURE
from tests.service.harness import SELFIE, build_service, listening

OFFERS = {
    "h2c": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "websocket": "connection: keep-alive, upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "TLS": "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "several": "Upgrade: TLS/1.2, h2c\r\nUPGRADE: websocket\r\nConnection: Upgrade\r\n",
}
PART = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n' + SELFIE + b"\r\n"
PROMPT = b'--x\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na woman\r\n--x--\r\n'
PREDICTION = json.dumps({"version": "proofsheet/portraits", "input": {"image": PICTURE}}).encode()
FORM = "multipart/form-data; boundary=x"
POSTS = [
    ("/v1/portraits", "image/jpeg", SELFIE, 200),
    ("/v1/portraits", FORM, PART % b"image" + PROMPT, 200),
    ("/v1/identities", "image/jpeg", SELFIE, 200),
    ("/v1/images/edits", FORM, PART % b"image" + PROMPT, 200),
    ("/v1/files", FORM, PART % b"content" + b"--x--\r\n", 201),
    ("/v1/predictions", "application/json", PREDICTION, 201),
    ("/predictions", "application/json", PREDICTION, 200),
]


def request(path, kind, body, *, offer="", chunked=False, method="POST"):
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = f"{method} {path} HTTP/1.1\r\nHost: front\r\n{offer}Content-Type: {kind}\r\n{framing}\r\n\r\n".encode()
    return head + (b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body)


async def answers(port, *pieces, count=1):
    """The statuses and bodies that come for what is sent, of which every piece is a segment of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            return [await _answer(reader) for _ in range(count)]
    finally:
        writer.close()


async def _answer(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length"))
    return int(head.split()[1]), await reader.readexactly(length)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_an_offer_of_another_protocol_costs_no_post_its_body(chunked):
    wanted = {(name, post[0], post[1]): post[3] for name in OFFERS for post in POSTS}
    found = {}

    async with listening(build_service(cog_model="proofsheet/portraits")) as port:
        for name, offer in OFFERS.items():
            for path, kind, body, _ in POSTS:
                [(status, _)] = await answers(port, request(path, kind, body, offer=offer, chunked=chunked))
                found[name, path, kind] = status
    assert found == wanted


async def test_an_offer_may_come_in_any_segments():
    sent = request("/v1/portraits", "image/jpeg", SELFIE, offer=OFFERS["h2c"])

    async with listening(build_service()) as port:
        for size in (1, 7, 64):
            [(status, _)] = await answers(port, *(sent[i : i + size] for i in range(0, len(sent), size)))
            assert status == 200, size


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_connection_goes_on_after_offers_with_all_that_was_sent_behind_them(chunked):
    post = request("/v1/portraits?n=2", "image/jpeg", SELFIE, offer=OFFERS["h2c"], chunked=chunked)
    plain = request("/v1/portraits?n=3", "image/jpeg", SELFIE, chunked=chunked)
    get = b"GET /livez HTTP/1.1\r\nHost: front\r\n%s\r\n" % OFFERS["websocket"].encode()

    async with listening(build_service()) as port:
        found = await answers(port, post + get + plain + post, count=4)
    assert [status for status, _ in found] == [200, 200, 200, 200]
    pictures = [len(json.loads(body).get("images", [])) for _, body in found]
    assert pictures == [2, 0, 3, 2]


FRAMINGS = [
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Transfer-Encoding: identity, chunked, identity",
    "Content-Length: 5\r\n Upgrade: h2c",
    "Content-Length : 5",
]


async def test_an_offer_lets_no_request_in_whose_length_can_be_read_in_two_ways():
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: front\r\n\r\n"
    start = f"POST /v1/portraits HTTP/1.1\r\nHost: front\r\n{OFFERS['h2c']}"

    async with listening(build_service()) as port:
        for framing in FRAMINGS:
            [(status, body)] = await answers(port, f"{start}{framing}\r\n\r\n".encode() + hidden)
            assert (status, body) == (400, b"Invalid HTTP request received."), framing


async def test_a_request_in_the_body_of_an_offer_stays_a_body():
    hidden = b"GET /hidden HTTP/1.1\r\nHost: front\r\n\r\n"
    sent = request("/v1/portraits", "image/jpeg", b"bad " + hidden, offer=OFFERS["websocket"])

    async with listening(build_service()) as port:
        found = await answers(port, sent, b"GET /livez HTTP/1.1\r\nHost: front\r\n\r\n", count=2)
    assert [status for status, _ in found] == [422, 200]


async def test_connect_is_refused_as_before():
    async with listening(build_service()) as port:
        [(status, _)] = await answers(port, b"CONNECT front:80 HTTP/1.1\r\nHost: front\r\n\r\n")
    assert status == 400
