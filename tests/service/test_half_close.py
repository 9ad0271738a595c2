"""Clients that close their side of the connection early, that speak HTTP/1.0, or that ask again after the end."""

import asyncio

import pytest

from tests.service.harness import SELFIE, build_service, client_of, listening, post_request, until
from tests.service.test_offers import POSTS, request

OLD = "POST /v1/portraits?%s HTTP/1.0\r\nAccept: %s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
END = b"\r\n\r\n"  # of a head
JPEG = {"Content-Type": "image/jpeg"}


async def said_all(port, data):
    """All that comes, until the server closes, for a client that closes its own side first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


def final(answer):
    """The answer behind interim ones."""
    while answer.startswith(b"HTTP/1.1 100 "):
        answer = answer.partition(END)[2]
    return answer


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_client_that_closes_its_side_gets_its_answer_whatever_it_asks(chunked):
    async with listening(build_service(cog_model="proofsheet/portraits")) as port:
        for path, kind, body, status in POSTS:
            answer = await said_all(port, request(path, kind, body, chunked=chunked))
            assert int(final(answer).split()[1]) == status, path


async def test_a_stream_comes_whole_to_a_client_that_closes_its_side():
    async with listening(build_service()) as port:
        head, _, body = final(await said_all(port, post_request("n=2", accept="text/event-stream"))).partition(END)
    assert head.startswith(b"HTTP/1.1 200")
    assert [body.count(b"event: " + name) for name in (b"queued", b"image", b"done")] == [1, 2, 1]


async def test_a_picture_comes_whole_to_a_client_that_closes_its_side():
    async with listening(build_service()) as port:
        head, _, body = final(await said_all(port, post_request("n=1", accept="image/jpeg"))).partition(END)
    assert head.startswith(b"HTTP/1.1 200")
    assert f"content-length: {len(body)}".encode() in head
    assert body.startswith(b"image of seed")  # as the fake worker draws


async def test_of_requests_in_one_go_each_is_answered_before_the_connection_closes():
    async with listening(build_service()) as port:
        answers = await said_all(port, post_request("n=1") + post_request("n=2") + post_request("n=1"))
        assert answers.count(b"HTTP/1.1 200") == 3


@pytest.mark.parametrize("says_so_first", [False, True], ids=["closes", "closes its side, then leaves"])
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_client_that_leaves_frees_its_rows(accept, says_so_first):
    service = build_service()
    async with listening(service) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post_request("prompt=STALL", accept=accept))
        await until(lambda: service.front.jobs.in_flight == 1)
        if says_so_first:
            writer.write_eof()
            await asyncio.sleep(0.1)
            assert service.cancelled == []
        writer.close()
        await until(lambda: len(service.cancelled) == 1)


async def test_half_a_request_is_answered_by_nothing_and_leaves_nothing():
    service = build_service()
    async with listening(service) as port:
        assert await said_all(port, post_request()[:-10]) == b""
        assert service.front.jobs.in_flight == 0


@pytest.mark.parametrize(("accept", "end"), [("text/event-stream", b"\n\n"), ("application/json", b"}")])
async def test_an_answer_to_http_1_0_has_no_chunks_and_ends_with_its_connection(accept, end):
    async with listening(build_service()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((OLD % ("n=2", accept, len(SELFIE))).encode() + SELFIE)
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(END)
        writer.close()
    assert head.split(b" ")[1] == b"200"
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.endswith(end)
    if accept == "text/event-stream":
        assert body.startswith(b"id: 1\nevent: queued")
        assert body.count(b"event: image") == 2


async def test_a_proxy_that_closes_an_http_1_0_connection_has_left():
    service = build_service()
    async with listening(service) as port:
        await said_all(port, (OLD % ("prompt=STALL", "application/json", len(SELFIE))).encode() + SELFIE)
        await until(lambda: len(service.cancelled) == 1)


@pytest.mark.parametrize("links", ["own", "prediction"])
async def test_who_asks_for_events_after_a_jobs_last_is_told_that_there_are_no_more(links):
    async with client_of(build_service()) as client:
        if links == "own":
            headers = JPEG | {"Prefer": "respond-async"}
            accepted = await client.post("/v1/portraits?prompt=a+woman", content=SELFIE, headers=headers)
            address = accepted.headers["location"] + "/events"
        else:
            _, kind, body, _ = next(post for post in POSTS if post[0] == "/v1/predictions")
            created = await client.post("/v1/predictions", content=body, headers={"Content-Type": kind})
            address = created.json()["urls"]["stream"]
        whole = await client.get(address)
        last = max(int(line[4:]) for line in whole.text.splitlines() if line.startswith("id: "))
        asked = [await client.get(address, headers={"Last-Event-ID": str(n)}) for n in (last - 1, last, last + 7)]
    assert [(answer.status_code, bool(answer.content)) for answer in asked] == [(200, True), (204, False), (204, False)]
