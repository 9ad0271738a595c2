"""The front on a real port: clients that leave, dawdle or read nothing, and how it starts and ends."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from scripts.fronts.fake_worker import Script
from service.api.events import EventStream
from service.api.record import RequestRecord
from service.errors import DeadlineExceeded
from service.lingering import LingeringTransport
from tests.service.harness import JPEG, SELFIE, build_service, listening, post_request, until
from tests.service.pictures import plain
from tests.service.some_job import some_job

SLOW = Script(step_seconds=0.02)


@contextlib.asynccontextmanager
async def connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("accept", ["application/json", "image/*", "text/event-stream"])
async def test_a_client_that_leaves_frees_its_rows_and_its_place(accept):
    service = build_service(script=SLOW)

    async with listening(service) as port:
        async with connection(port) as (_, writer):
            writer.write(post_request("prompt=STALL", accept=accept))
            await until(lambda: service.fakes[0].orders)
        await until(lambda: service.cancelled)
        assert service.front.jobs.in_flight == 0
        await until(lambda: service.figure("requests_total", route="/v1/portraits", outcome="disconnected"))
    assert service.cancelled == [service.fakes[0].orders[0].job_id]
    assert service.figure("requests_total", route="/v1/portraits", outcome="ok") == 0


async def test_a_client_that_leaves_while_its_photo_is_decoded_never_costs_a_worker_anything():
    service = build_service()
    service.decoders.seconds = 5.0

    async with listening(service) as port:
        async with connection(port) as (_, writer):
            writer.write(post_request())
            await until(lambda: service.decoders.seen)
        await until(lambda: service.front.jobs.in_flight == 0)
    assert not service.fakes[0].orders
    assert not any(service.decoders.seen[0])


async def test_a_client_that_leaves_in_the_middle_of_its_upload_is_no_failure():
    service = build_service()

    async with listening(service) as port:
        async with connection(port) as (_, writer):
            writer.write(post_request(body=SELFIE * 10)[:-100])
            await until(lambda: service.figure("uploads_in_flight"))
        await until(lambda: service.figure("requests_total", route="/v1/portraits", outcome="disconnected"))
    assert service.figure("requests_total", route="/v1/portraits", outcome="failed") == 0


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /livez HT", b"\r\n", post_request()[:-5]],
    ids=["nothing", "half a header", "empty lines", "half a body"],
)
async def test_a_client_that_dawdles_is_cut_off_while_others_are_served(sent):
    service = build_service(header_seconds=0.3, body_seconds=0.3)

    async with listening(service) as port, connection(port) as (reader, writer):
        writer.write(sent)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/livez")).status_code == 200
        started = time.monotonic()
        answer = await asyncio.wait_for(read_to_end(reader), 5)
        assert time.monotonic() - started < 3
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408")


async def read_to_end(reader):
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("accept", ["image/*", "text/event-stream"])
async def test_a_client_that_never_reads_its_answer_is_cut_off_and_holds_nothing(accept, monkeypatch):
    service, cut = build_service(write_seconds=0.3), asyncio.Event()
    monkeypatch.setattr(LingeringTransport, "lost", lambda _: cut.set())

    async with listening(service) as port, connection(port) as (reader, writer):
        writer.write(post_request("prompt=BIG", accept=accept))
        reader._transport.pause_reading()  # pyright: ignore - a client that is there and does not read
        await until(cut.is_set, seconds=20)  # one that read before would get the whole
        reader._transport.resume_reading()  # pyright: ignore
        answer = await asyncio.wait_for(read_to_end(reader), 20)
        await until(lambda: service.front.jobs.in_flight == 0)
    assert service.figure("images_total", format="jpeg") == 1
    assert len(answer) < 30_000_000


async def test_a_slow_job_is_not_cut_off_by_the_receive_deadlines():
    service = build_service(script=Script(step_seconds=0.1), header_seconds=0.2, body_seconds=0.2)

    async with listening(service) as port, httpx.AsyncClient() as client:
        answer = await client.post(f"http://127.0.0.1:{port}/v1/portraits?steps=8", content=SELFIE, headers=JPEG)
    assert answer.status_code == 200


async def test_events_arrive_while_the_job_runs():
    service = build_service(script=Script(step_seconds=0.1))

    async with listening(service) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/v1/portraits?steps=5"
        headers = JPEG | {"Accept": "text/event-stream"}
        async with client.stream("POST", url, content=SELFIE, headers=headers) as answer:
            times = [(line, time.monotonic()) async for line in answer.aiter_lines() if line.startswith("event: ")]
    assert times[0][0] == "event: queued"
    assert times[-1][0] == "event: done"
    assert times[-1][1] - times[0][1] > 0.3


async def test_a_quiet_event_stream_is_kept_alive_by_comments():
    sent = bytearray()

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.extend(message.get("body", b""))

    job = some_job()
    job.attach()
    asyncio.get_running_loop().call_later(0.3, job.end, DeadlineExceeded("deadline_exceeded", "Too late."))
    await EventStream(job, RequestRecord(request_id=None), keep_alive_seconds=0.05)({}, receive, send)
    assert sent.count(b": still working\n\n") >= 3
    assert b'"code":"deadline_exceeded"' in sent
    with pytest.raises(AssertionError):
        job.detach()  # the stream has done it


async def test_a_full_service_is_refused_without_reading_the_body_and_the_connection_closes():
    service = build_service(script=SLOW, max_jobs=1)

    async with listening(service) as port, connection(port) as (_, first), connection(port) as (reader, second):
        first.write(post_request("prompt=STALL"))
        await until(lambda: service.fakes[0].orders)
        second.write(post_request(body=bytes(10_000_000))[:500])
        answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"connection: close" in answer.lower()
    assert b"queue_full" in answer


async def test_a_running_job_is_finished_after_the_signal_to_stop_and_new_ones_are_refused():
    service = build_service(script=Script(step_seconds=0.1))

    async with listening(service) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/v1/portraits?steps=5"
        job = asyncio.create_task(client.post(url, content=SELFIE, headers=JPEG))
        await until(lambda: service.fakes[0].orders)
        service.front.jobs.stopping = True  # what the server does on SIGTERM
        late = await client.post(url, content=SELFIE, headers=JPEG)
        probe = await client.get(f"http://127.0.0.1:{port}/readyz")
        job = await job
    assert job.status_code == 200
    assert (late.status_code, late.json()["code"]) == (503, "stopping")
    assert (probe.status_code, probe.json()["code"]) == (503, "stopping")


# ---- the process


@contextlib.contextmanager
def front_process(tmp_path, *arguments, fake=()):
    """`proofsheet serve` with a fake worker behind it, as an operator would start it."""
    command = [sys.executable, "-m", "scripts.fronts.with_fake", *fake, "--", "serve", *arguments]
    ready = tmp_path / "ready"
    environment = dict(os.environ) | {"PROOFSHEET_PORT": "0", "PROOFSHEET_DECODERS": "1"}
    with subprocess.Popen(
        [*command, "--ready-file", str(ready)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        try:
            yield process, ready
        finally:
            if process.poll() is None:
                process.kill()


def read_address(process):
    line = process.stdout.readline()
    match = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", line)
    assert match, (line, process.stderr.read() if process.poll() is not None else "")
    return match[1]


def test_the_process_announces_itself_serves_within_its_memory_and_ends_with_status_0(tmp_path):
    with front_process(tmp_path) as (process, ready):
        address = read_address(process)
        assert re.fullmatch(r"ready in [\d.]+ s\n", process.stdout.readline())
        while not ready.exists():
            time.sleep(0.01)
        assert ready.read_text().startswith(address)
        with open(f"/proc/{process.pid}/status") as file:
            resident = int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) / 1024
        assert httpx.get(f"{address}/readyz").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        lines = [json.loads(line) for line in process.stderr]
    assert resident < 100
    assert [(line["message"], line["level"]) for line in lines] == [
        (message, "info") for message in ("listening", "ready", "stopping", "stopped")
    ]
    assert lines[0]["address"] == address
    assert (lines[2]["jobs"], lines[3]["status"]) == (0, 0)
    assert lines[3]["seconds"] < 5  # some tenths of a second where nothing else runs


def test_with_a_higher_log_level_start_stop_and_requests_are_no_lines(tmp_path):
    with front_process(tmp_path, "--log-level", "warning") as (process, _):
        address = read_address(process)
        process.stdout.readline()
        assert httpx.get(f"{address}/v1/styles").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_ctrl_c_while_the_models_load_ends_the_process_with_one_line_and_status_130(tmp_path):
    with front_process(tmp_path, fake=["--start-seconds", "60"]) as (process, _):
        read_address(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        first, *rest = [json.loads(line)["message"] for line in process.stderr]
    assert (first, rest) == ("listening", ["interrupted before it was ready"])


def test_ctrl_c_while_modules_are_imported_ends_the_process_with_one_line_and_status_130():
    code = "from service.entry import end_on_interrupt as end; end(); print(flush=True); import time; time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == "proofsheet: interrupted\n"


def test_a_running_job_survives_sigterm_and_the_process_then_ends_with_status_0(tmp_path):
    with front_process(tmp_path, fake=["--step-seconds", "0.1"]) as (process, _):
        address = read_address(process)
        process.stdout.readline()
        with ThreadPoolExecutor(1) as pool:
            url = f"{address}/v1/portraits?steps=10"
            job = pool.submit(httpx.post, url, content=plain("JPEG"), headers=JPEG, timeout=20)
            while httpx.get(f"{address}/health").json()["jobs"] == 0:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert job.result().status_code == 200
        assert process.wait(10) == 0


def test_a_worker_that_is_broken_from_the_start_ends_the_process_with_status_1_and_its_reason(tmp_path):
    with front_process(tmp_path, fake=["--broken", "no such bundle"]) as (process, _):
        read_address(process)
        assert process.wait(10) == 1
        assert "giving up: the worker for auto can't be kept alive: no such bundle" in process.stderr.read()


def test_a_taken_port_is_said_in_one_line(tmp_path):
    with front_process(tmp_path) as (first, _):
        port = read_address(first).rsplit(":", 1)[1]
        with front_process(tmp_path, "--port", port) as (second, _):
            assert second.wait(10) == 1
            errors = second.stderr.read()
    assert errors.startswith("Error: ")
    assert port in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-jobs", "many"], "PROOFSHEET_MAX_JOBS='many': wanted int"),
        (["--styles", "nowhere.toml"], "nowhere.toml: can't be read"),
        (["--default-style", "magic"], "the default style 'magic' is not in it"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(tmp_path, arguments, message):
    with front_process(tmp_path, *arguments) as (process, _):
        assert process.wait(10) == 1
        errors = process.stderr.read()
    assert errors.startswith("Error: ")
    assert message in errors
    assert errors.count("\n") == 1


async def test_a_deadline_that_can_not_be_met_is_refused_before_the_body_has_come():
    service = build_service(script=Script(step_seconds=0.1, measure=True))

    async with listening(service) as port, connection(port) as (reader, writer):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await client.post("/v1/portraits?steps=4", content=SELFIE, headers=JPEG)
        writer.write(post_request("deadline=0.1", body=bytes(10_000_000))[:500])
        answer = await asyncio.wait_for(read_to_end(reader), 5)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"deadline_unreachable"' in answer
    assert b'"eta_seconds":' in answer
    assert b'"position":1' in answer
    assert b"\r\nretry-after: 1\r\n" in answer.lower()
    assert b"\r\nconnection: close\r\n" in answer.lower()


async def test_a_refusal_arrives_although_its_body_was_never_read():
    service = build_service(script=SLOW, max_jobs=1)

    async def refused(port):
        """Send all of a body that is larger than the socket's buffers, and only then read."""
        async with connection(port) as (reader, writer):
            writer.write(post_request(body=bytes(10_000_000)))
            await writer.drain()
            return await asyncio.wait_for(read_to_end(reader), 5)

    async with listening(service) as port, connection(port) as (_, first):
        first.write(post_request("prompt=STALL"))
        await until(lambda: service.fakes[0].orders)
        answers = await asyncio.gather(*(refused(port) for _ in range(20)))
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 503"] * 20
